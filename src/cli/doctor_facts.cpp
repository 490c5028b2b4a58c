#include "doctor_facts.h"

#include <charconv>
#include <fstream>
#include <sstream>

namespace icbd::cli {
namespace {

using std::filesystem::path;

// Sizes of block devices are given in these, whatever the disk's own are: Linux, block/genhd.c.
constexpr std::uint64_t sector_size = 512;

std::string read_line(const path& file) {
  std::ifstream stream(file);
  std::string line;
  std::getline(stream, line);
  return line;
}

template <typename Number>
std::optional<Number> parse(std::string_view text, int base = 10) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (error != std::errc() || end == text.data()) return std::nullopt;
  return number;
}

std::optional<std::uint64_t> read_number(const path& file) {
  return parse<std::uint64_t>(read_line(file));
}

// "6.12.9-amd64"
KernelVersion parse_release(const std::string& release) {
  KernelVersion version;
  const std::size_t dot = release.find('.');
  if (dot == std::string::npos) return version;
  version.major = parse<unsigned>(release).value_or(0);
  version.minor = parse<unsigned>(std::string_view(release).substr(dot + 1)).value_or(0);
  return version;
}

std::uint64_t read_memory(const path& root) {
  std::ifstream stream(root / "proc/meminfo");
  std::string label;
  std::uint64_t kibibytes = 0;
  std::string unit;
  while (stream >> label >> kibibytes) {
    if (label == "MemTotal:") return kibibytes * 1024;
    std::getline(stream, unit);
  }
  return 0;
}

// proc(5), /proc/net/tcp: "sl local_address rem_address st ...", in hexadecimal; state 0A is
// TCP_LISTEN (Linux, include/net/tcp_states.h).
void add_listening_ports(const path& file, std::set<std::uint16_t>& ports) {
  std::ifstream stream(file);
  std::string line;
  std::getline(stream, line);  // the heading
  while (std::getline(stream, line)) {
    std::istringstream fields(line);
    std::string slot;
    std::string local;
    std::string remote;
    std::string state;
    fields >> slot >> local >> remote >> state;
    const std::size_t colon = local.rfind(':');
    if (state != "0A" || colon == std::string::npos) continue;
    if (const auto port = parse<std::uint16_t>(std::string_view(local).substr(colon + 1), 16))
      ports.insert(*port);
  }
}

void split_options(const std::string& list, std::set<std::string>& options) {
  std::istringstream stream(list);
  for (std::string option; std::getline(stream, option, ',');) options.insert(option);
}

bool lies_in(const path& inner, const path& outer) {
  const path relative = inner.lexically_relative(outer);
  return !relative.empty() && *relative.begin() != "..";
}

// proc(5), /proc/PID/mountinfo: "36 35 98:0 /root /point options optional... - type source super".
std::optional<MountFacts> parse_mount(const std::string& line) {
  std::istringstream fields(line);
  std::string skipped;
  std::string options;
  std::string super;
  MountFacts mount;
  fields >> skipped >> skipped >> skipped >> skipped >> mount.point >> options;
  while (fields >> skipped && skipped != "-") continue;
  if (!(fields >> mount.type >> mount.source >> super)) return std::nullopt;
  split_options(options, mount.options);
  split_options(super, mount.options);
  return mount;
}

bool has_device(const path& filesystem, const std::string& device) {
  std::error_code ignored;
  return std::filesystem::exists(filesystem / "devices" / path(device).filename(), ignored);
}

// allocation/data/disk_total, and directories named after profiles: Linux, fs/btrfs/sysfs.c.
void add_allocation(const path& filesystem, BtrfsFacts& facts) {
  for (const char* const kind : {"data", "metadata", "system"}) {
    const path group = filesystem / "allocation" / kind;
    facts.unallocated -= std::min(facts.unallocated, read_number(group / "disk_total").value_or(0));
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(group, error))
      if (entry.is_directory()) facts.profiles[kind].insert(entry.path().filename().string());
  }
}

}  // namespace

MachineFacts look_at_machine(const path& root) {
  MachineFacts facts;
  std::error_code ignored;
  facts.release = read_line(root / "proc/sys/kernel/osrelease");
  facts.kernel = parse_release(facts.release);
  facts.fuse_device = std::filesystem::exists(root / "dev/fuse", ignored);
  facts.btrfs = std::filesystem::exists(root / "sys/fs/btrfs", ignored);
  for (const char* const directory : {"usr/local/bin", "usr/bin", "bin"})
    facts.ssh = facts.ssh || std::filesystem::exists(root / directory / "ssh", ignored);
  facts.send_stream_version = read_number(root / "sys/fs/btrfs/features/send_stream_version");
  facts.io_uring_disabled = read_number(root / "proc/sys/kernel/io_uring_disabled");
  facts.memory = read_memory(root);
  add_listening_ports(root / "proc/net/tcp", facts.listening_ports);
  add_listening_ports(root / "proc/net/tcp6", facts.listening_ports);
  return facts;
}

std::optional<MountFacts> find_mount(const path& root, const path& wanted) {
  std::ifstream stream(root / "proc/self/mountinfo");
  std::optional<MountFacts> found;
  for (std::string line; std::getline(stream, line);) {
    auto mount = parse_mount(line);
    // The last one that is as deep as any hides the others.
    if (mount && lies_in(wanted, mount->point) &&
        (!found || mount->point.native().size() >= found->point.native().size()))
      found = std::move(mount);
  }
  return found;
}

std::optional<BtrfsFacts> look_at_btrfs(const path& root, const MountFacts& mount) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(root / "sys/fs/btrfs", error)) {
    if (!has_device(entry.path(), mount.source)) continue;
    BtrfsFacts facts;
    for (const auto& device : std::filesystem::directory_iterator(entry.path() / "devices", error))
      facts.total += read_number(device.path() / "size").value_or(0) * sector_size;
    for (const auto& device : std::filesystem::directory_iterator(entry.path() / "devinfo", error))
      facts.missing_devices += read_number(device.path() / "missing").value_or(0);
    facts.unallocated = facts.total;
    add_allocation(entry.path(), facts);
    return facts;
  }
  return std::nullopt;
}

}  // namespace icbd::cli
