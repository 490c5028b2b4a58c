// A machine that is reached by ssh, and where snapshots lie on it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace icbd::pull {

struct Machine {
  std::string user;                        // "" leaves it to ssh
  std::string host;                        // a name or an address
  std::uint16_t port = 0;                  // 0 leaves it to ssh
  std::string directory;                   // absolute; has one directory for each image
  std::filesystem::path key = {};          // "": those that ssh takes by itself
  std::filesystem::path known_hosts = {};  // likewise
  // Each as after `ssh -o`. They go over icbd's own, but for StrictHostKeyChecking and BatchMode.
  std::vector<std::string> ssh_options = {};
  std::string remote_command = "btrfs";  // words between spaces: "sudo btrfs"
};

}  // namespace icbd::pull
