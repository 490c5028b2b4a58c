#include "keys.h"

namespace icbd::config {
namespace {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""h;

}  // namespace

std::vector<Key> keys_of(Master& master) {
  return {
      {"", "insecure_plaintext", FlagTarget{&master.insecure_plaintext}},
      {"repository", "path", PathTarget{&master.repository}, true},
      {"rest", "listen", ListenTarget{&master.rest_listen, &master.insecure_plaintext}},
      {"data", "listen", ListenTarget{&master.data_listen, &master.insecure_plaintext}},
      {"log", "level", LogLevelTarget{&master.log_level}},
  };
}

std::vector<Key> keys_of(Cache& cache) {
  return {
      {"", "insecure_plaintext", FlagTarget{&cache.insecure_plaintext}},
      {"repository", "path", PathTarget{&cache.repository}, true},
      {"view", "mountpoint", PathTarget{&cache.mountpoint}},
      {"master", "data", PeerTarget{&cache.master_data}},
      {"master", "poll_interval", DurationTarget{&cache.poll_interval, 50ms, 1h}},
      {"rest", "listen", ListenTarget{&cache.rest_listen, &cache.insecure_plaintext}},
      {"log", "level", LogLevelTarget{&cache.log_level}},
      {"node", "name", NodeNameTarget{&cache.node_name}},
      {"fetch", "timeout", DurationTarget{&cache.fetch_timeout, 100ms, 1h}},
      {"policy", "device_nodes", FlagTarget{&cache.allow_device_nodes}},
      {"policy", "setuid", FlagTarget{&cache.allow_setuid}},
      {"policy", "security_xattrs", FlagTarget{&cache.allow_security_xattrs}},
  };
}

}  // namespace icbd::config
