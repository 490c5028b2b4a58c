// What `icbd doctor` sees of this machine: read from /proc and /sys, judged elsewhere.
//
// Everything is looked for below `root`, so that tests can hand in a machine of their own. What
// cannot be read is left out.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace icbd::cli {

struct KernelVersion {
  unsigned major = 0;
  unsigned minor = 0;
  auto operator<=>(const KernelVersion&) const = default;
};

struct MountFacts {
  std::filesystem::path point;
  std::string type;               // "btrfs"
  std::string source;             // "/dev/sda2"
  std::set<std::string> options;  // of the mount and of the filesystem
};

// Of one BTRFS, as /sys/fs/btrfs has it.
struct BtrfsFacts {
  std::uint64_t total = 0;  // bytes of all devices
  std::uint64_t unallocated = 0;
  std::map<std::string, std::set<std::string>> profiles;  // "data" -> {"raid1"}
  std::size_t missing_devices = 0;
};

struct MachineFacts {
  std::string release;  // "6.12.9-amd64"
  KernelVersion kernel;
  bool fuse_device = false;
  bool btrfs = false;
  bool ssh = false;  // its program is where programs are
  std::optional<std::uint64_t> send_stream_version;
  std::optional<std::uint64_t> io_uring_disabled;
  std::uint64_t memory = 0;  // bytes
  std::set<std::uint16_t> listening_ports;
};

MachineFacts look_at_machine(const std::filesystem::path& root);
// The mount that `path` lies on. (A directory of the machine itself, not below `root`.)
std::optional<MountFacts> find_mount(const std::filesystem::path& root,
                                     const std::filesystem::path& path);
std::optional<BtrfsFacts> look_at_btrfs(const std::filesystem::path& root, const MountFacts& mount);

}  // namespace icbd::cli
