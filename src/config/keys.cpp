#include "keys.h"

#include <fmt/format.h>

namespace icbd::config {
namespace {

using namespace std::chrono_literals;

constexpr std::array<std::string_view, 4> log_levels = {"debug", "info", "warning", "error"};
// No filesystem is larger (2^63 bytes).
constexpr std::uint64_t largest_size = std::uint64_t{1} << 63;

Key reloadable(Key key) {
  key.reloadable = true;
  return key;
}

}  // namespace

bool takes_text(const decltype(Key::target)& target) {
  return std::holds_alternative<PathTarget>(target) || std::holds_alternative<PeerTarget>(target) ||
         std::holds_alternative<ListenTarget>(target) ||
         std::holds_alternative<ChoiceTarget>(target) ||
         std::holds_alternative<UuidTarget>(target) ||
         std::holds_alternative<NodeNameTarget>(target) ||
         std::holds_alternative<TextTarget>(target) || std::holds_alternative<SshTarget>(target) ||
         std::holds_alternative<CodecTarget>(target);
}

std::string label(const Key& key) {
  return key.table.empty() ? std::string(key.name) : fmt::format("[{}] {}", key.table, key.name);
}

std::vector<Key> keys_of(Master& master) {
  return {
      {"", "insecure_plaintext", FlagTarget{&master.insecure_plaintext}},
      {"repository", "path", PathTarget{&master.repository}, true},
      {"rest", "listen", ListenTarget{&master.rest_listen, &master.insecure_plaintext}},
      {"data", "listen", ListenTarget{&master.data_listen, &master.insecure_plaintext}},
      {"view", "mountpoint", PathTarget{&master.mountpoint, true}},
      {"view", "directories", DirectoriesTarget{&master.directories}},
      reloadable({"log", "level", ChoiceTarget{&master.log_level, log_levels}}),
  };
}

std::vector<Key> keys_of(Cache& cache) {
  return {
      {"", "insecure_plaintext", FlagTarget{&cache.insecure_plaintext}},
      {"repository", "path", PathTarget{&cache.repository}, true},
      reloadable({"repository", "reserve", SizeTarget{&cache.space_reserve, largest_size}}),
      {"view", "mountpoint", PathTarget{&cache.mountpoint}},
      {"view", "directories", DirectoriesTarget{&cache.directories}},
      {"view", "source", TextTarget{&cache.view_source}},
      {"view", "holder", FlagTarget{&cache.holder}},
      {"view", "worker_timeout", DurationTarget{&cache.worker_timeout, 100ms, 1h}},
      {"view", "passthrough", FlagTarget{&cache.passthrough}},
      {"view", "resend", FlagTarget{&cache.resend}},
      {"view", "directory_cache", FlagTarget{&cache.directory_cache}},
      {"view", "readdirplus", FlagTarget{&cache.readdirplus}},
      {"source", "url", SshTarget{&cache.source_url}},
      {"source", "key", PathTarget{&cache.source_key, true}},
      {"source", "known_hosts", PathTarget{&cache.source_known_hosts, true}},
      {"source", "ssh_options", TextsTarget{&cache.source_ssh_options}},
      {"source", "remote_command", TextTarget{&cache.source_remote_command}},
      reloadable({"source", "poll_interval", DurationTarget{&cache.source_interval, 50ms, 24h}}),
      {"master", "data", PeerTarget{&cache.master_data}},
      {"master", "rest", PeerTarget{&cache.master_rest, true}},
      {"master", "repository", UuidTarget{&cache.master_repository}},
      reloadable({"master", "poll_interval", DurationTarget{&cache.poll_interval, 50ms, 1h}}),
      {"rest", "listen", ListenTarget{&cache.rest_listen, &cache.insecure_plaintext}},
      reloadable({"log", "level", ChoiceTarget{&cache.log_level, log_levels}}),
      {"node", "name", NodeNameTarget{&cache.node_name}},
      reloadable({"fetch", "timeout", DurationTarget{&cache.fetch_timeout, 100ms, 1h}}),
      reloadable({"fetch", "offline_after", DurationTarget{&cache.offline_after, 0ms, 24h}}),
      reloadable({"fetch", "fill", ChoiceTarget{&cache.fill, fill_modes}}),
      reloadable({"fetch", "fill_threshold", SizeTarget{&cache.fill_threshold, largest_size}}),
      reloadable({"fetch", "transfer", ChoiceTarget{&cache.transfer, transfer_modes}}),
      reloadable({"fetch", "bandwidth_limit", SizeTarget{&cache.bandwidth_limit, largest_size}}),
      {"fetch", "codec", CodecTarget{&cache.packing}},
      {"policy", "device_nodes", FlagTarget{&cache.allow_device_nodes}},
      {"policy", "setuid", FlagTarget{&cache.allow_setuid}},
      {"policy", "security_xattrs", FlagTarget{&cache.allow_security_xattrs}},
  };
}

}  // namespace icbd::config
