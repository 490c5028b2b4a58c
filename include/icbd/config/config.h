// Configuration of the daemons: TOML files, strictly checked, and single values set over them.
//
// Guarantees: an unknown table or key, a wrong type and a value out of range are errors
// (invalid_argument) that name file, line and key and, for a near miss, suggest what was probably
// meant ("did you mean").
// Nothing has a side effect; paths are checked for being absolute, not for existing.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "icbd/base/error.h"
#include "icbd/base/uuid.h"
#include "icbd/codec/codec.h"

namespace icbd::config {

// What a read of a version that is not here leads to.
inline constexpr std::array<std::string_view, 3> fill_modes = {"on-read", "demand-only", "never"};

// How the bytes of versions come.
inline constexpr std::array<std::string_view, 3> transfer_modes = {"auto", "extents", "stream"};

// A directory of the site's own at the root of the view.
struct ViewDirectory {
  std::string name;
  std::filesystem::path source;  // what is mounted on it; none: it is empty, for others to mount on
  bool operator==(const ViewDirectory&) const = default;
};

struct Master {
  std::filesystem::path repository;            // [repository] path; required
  std::string rest_listen = "127.0.0.1:5009";  // [rest] listen
  std::string data_listen = "127.0.0.1:5010";  // [data] listen
  std::string log_level = "info";              // [log] level
  std::filesystem::path mountpoint;            // [view] mountpoint; none: no view
  std::vector<ViewDirectory> directories;      // [view] directories
  bool insecure_plaintext = false;  // top level; needed to listen anywhere but on loopback
  bool operator==(const Master&) const = default;
};

struct Cache {
  std::filesystem::path repository;                    // [repository] path; required
  std::filesystem::path mountpoint = "/var/lib/icbd";  // [view] mountpoint
  std::vector<ViewDirectory> directories;              // [view] directories
  std::string view_source;                             // [view] source; [master] data if empty
  bool holder = true;                                  // [view] holder
  std::chrono::milliseconds worker_timeout{30'000};    // [view] worker_timeout, seconds (number)
  bool passthrough = true;                             // [view] passthrough
  bool resend = true;                                  // [view] resend
  bool directory_cache = true;                         // [view] directory_cache
  bool readdirplus = true;                             // [view] readdirplus
  std::string source_url;                              // [source] url; a master's if empty
  std::filesystem::path source_key;                    // [source] key; ssh's own if empty
  std::filesystem::path source_known_hosts;            // [source] known_hosts; ssh's own if empty
  std::vector<std::string> source_ssh_options;         // [source] ssh_options, as after ssh -o
  std::string source_remote_command = "btrfs";         // [source] remote_command
  std::chrono::milliseconds source_interval{60'000};   // [source] poll_interval, seconds (number)
  std::string master_data = "127.0.0.1:5010";          // [master] data
  std::string master_rest;                             // [master] rest; data's host if empty
  std::string rest_listen = "127.0.0.1:5009";          // [rest] listen
  std::string log_level = "info";                      // [log] level
  std::string node_name;                               // [node] name; the host's name if empty
  std::optional<Uuid> master_repository;               // [master] repository; "" for none
  std::uint64_t space_reserve = 0;                     // [repository] reserve; 0: by size
  std::chrono::milliseconds fetch_timeout{20'000};     // [fetch] timeout, seconds (number)
  std::chrono::milliseconds offline_after{20'000};     // [fetch] offline_after, seconds (number)
  std::string fill = "on-read";                        // [fetch] fill: one of fill_modes
  std::uint64_t fill_threshold = 1024 * 1024;          // [fetch] fill_threshold
  std::string transfer = "auto";                       // [fetch] transfer: one of transfer_modes
  std::uint64_t bandwidth_limit = 0;                   // [fetch] bandwidth_limit; 0: none
  std::optional<codec::Setting> packing;               // [fetch] codec; none: "auto"
  std::chrono::milliseconds poll_interval{30'000};     // [master] poll_interval, seconds (number)
  bool allow_device_nodes = true;                      // [policy] device_nodes
  bool allow_setuid = true;                            // [policy] setuid
  bool allow_security_xattrs = true;                   // [policy] security_xattrs
  bool insecure_plaintext = false;
  bool operator==(const Cache&) const = default;
};

// Where its versions come from, as people know it: the address of [source] or of the master.
const std::string& source_of(const Cache& cache);
// Where the master's REST answers: [master] rest, or port 5009 on the host of [master] data.
std::string master_rest_of(const Cache& cache);

// A value that counts over what the file says; of several for one key, the last.
struct Setting {
  std::string key;    // "fetch.fill"; "insecure_plaintext" for one at the top of the file
  std::string value;  // as people type it: texts need no quotes
  std::string name;   // what errors begin with, such as "--set fetch.fill=nevr"
};
// From "TABLE.KEY=VALUE". Whether there is such a key is found when it is loaded.
Result<Setting> parse_setting(std::string_view text);
using Settings = std::span<const Setting>;

// Without a file (an empty path), the settings are all there is.
Result<Master> load_master(const std::filesystem::path& file, Settings settings = {});
Result<Cache> load_cache(const std::filesystem::path& file, Settings settings = {});
// The same from text; `name` stands for the file in errors.
Result<Master> parse_master(std::string_view text, const std::string& name, Settings settings = {});
Result<Cache> parse_cache(std::string_view text, const std::string& name, Settings settings = {});
// A file as it is, to be parsed later; "" without one.
Result<std::string> read_text(const std::filesystem::path& file);
// Far more than every key with its comments; a device or a disk image is not read.
inline constexpr std::size_t text_length_max = 1024 * 1024;

// What becomes of a configuration that is read again while the daemon runs. Keys are named as in
// "[log] level".
template <typename Configuration>
struct Reload {
  Configuration effective;            // as it ran, with what can change while it runs
  std::vector<std::string> changed;   // keys that are different in `effective`
  std::vector<std::string> deferred;  // keys that are different in the file: from the next start
};
Reload<Master> plan_reload(const Master& running, const Master& read_again);
Reload<Cache> plan_reload(const Cache& running, const Cache& read_again);

// What is remembered of the file while a mount lasts that several processes serve, one after
// another.
struct KeptTexts {
  std::string first;  // what the mount began with
  std::string last;   // what was last in force
};
// What the next process serves the mount with.
struct Continuation {
  Cache configuration;
  std::string last;  // to be remembered from now on
  // Keys that are different in the file: from the next mount on.
  std::vector<std::string> deferred = {};
  std::optional<Error> error = {};  // why the file as it is now is not looked at
};
// What cannot change while a cache runs is what the mount began with: ids that the kernel knows
// mean something in that repository alone. What can change is as the file says now, or as it was
// last if that has an error. Fails only if what was remembered cannot be read by this release.
Result<Continuation> continue_cache(const KeptTexts& kept, const std::filesystem::path& file,
                                    Settings settings = {});

// A commented file with every key at its default.
std::string_view example_master();
std::string_view example_cache();

}  // namespace icbd::config
