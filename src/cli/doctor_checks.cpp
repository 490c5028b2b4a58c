#include "doctor_checks.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <ctime>

#include "icbd/base/version.h"
#include "icbd/btrfs/space.h"

#include "answers.h"

namespace icbd::cli {
namespace {

using nlohmann::json;

constexpr std::uint64_t mebibyte = 1024 * 1024;
constexpr std::uint64_t gibibyte = 1024 * mebibyte;

// FUSE_PASSTHROUGH and FUSE_NOTIFY_RESEND came with protocol 7.40, in Linux 6.9: the history in
// include/uapi/linux/fuse.h.
constexpr KernelVersion fuse_7_40{6, 9};
// Send stream version 2 (BTRFS_SEND_FLAG_VERSION) came with Linux 6.0; encoded I/O, which version 2
// is applied with, with 5.18: fs/btrfs/send.h and include/uapi/linux/btrfs.h.
constexpr KernelVersion send_version_2{6, 0};

Finding check_kernel(const MachineFacts& machine) {
  Finding finding{.subject = "kernel", .found = machine.release};
  if (machine.kernel < send_version_2) {
    finding.verdict = Verdict::bad;
    finding.cost = "shapes cannot be sent or applied: no send stream version 2, no encoded I/O";
    finding.advice = "run Linux 6.1 or newer";
  } else if (machine.kernel < fuse_7_40) {
    finding.verdict = Verdict::note;
    finding.found += ", without FUSE passthrough and RESEND (Linux 6.9)";
    finding.cost =
        "what is here is read through icbd, not by the kernel itself: reads that are not in the "
        "page cache cost two to twenty times the time. Lost is nothing: icbd keeps requests itself";
    finding.advice = "run Linux 6.9 or newer where that matters";
  }
  return finding;
}

Finding check_fuse(const MachineFacts& machine) {
  if (machine.fuse_device) return {.subject = "FUSE", .found = "/dev/fuse is there"};
  return {.subject = "FUSE",
          .verdict = Verdict::bad,
          .found = "there is no /dev/fuse",
          .cost = "a cache cannot show its view",
          .advice = "modprobe fuse; in a container, let it have the device"};
}

Finding check_send(const MachineFacts& machine) {
  constexpr const char* subject = "BTRFS";
  if (!machine.btrfs)
    return {.subject = subject,
            .verdict = Verdict::note,
            .found = "its module is not loaded",
            .cost = "none, if nothing is mounted yet",
            .advice = "modprobe btrfs shows whether this kernel has it"};
  if (!machine.send_stream_version)
    return {.subject = subject,
            .verdict = Verdict::note,
            .found = "the kernel does not say which send streams it knows"};
  Finding finding{
      .subject = subject,
      .found = fmt::format("send streams up to version {}", *machine.send_stream_version)};
  if (*machine.send_stream_version < 2) {
    finding.verdict = Verdict::bad;
    finding.cost = "shapes cannot be sent";
    finding.advice = "run Linux 6.1 or newer";
  }
  return finding;
}

// Documentation/admin-guide/sysctl/kernel.rst: 0 everybody, 1 a group and who has CAP_SYS_ADMIN, as
// a master has, 2 nobody; since Linux 6.6.
Finding check_io_uring(const MachineFacts& machine) {
  constexpr std::uint64_t for_nobody = 2;
  const std::uint64_t disabled = machine.io_uring_disabled.value_or(0);
  if (disabled < for_nobody) return {.subject = "io_uring", .found = "allowed"};
  return {.subject = "io_uring",
          .verdict = Verdict::note,
          .found = fmt::format("kernel.io_uring_disabled is {}", disabled),
          .cost =
              "a master reads for its caches one piece after the other, which is slower; a cache "
              "does without",
          .advice = "on a master: sysctl kernel.io_uring_disabled=0, and restart it"};
}

Finding check_memory(const MachineFacts& machine) {
  Finding finding{.subject = "memory", .found = format_size(machine.memory)};
  if (machine.memory == 0) {
    finding.verdict = Verdict::note;
    finding.found = "not known";
  } else if (machine.memory < gibibyte) {
    finding.verdict = Verdict::note;
    finding.cost = "the page cache holds little of what is read again";
    finding.advice = "1 GiB or more";
  }
  return finding;
}

Finding bad(std::string subject, std::string found, std::string cost, std::string advice) {
  return {.subject = std::move(subject),
          .verdict = Verdict::bad,
          .found = std::move(found),
          .cost = std::move(cost),
          .advice = std::move(advice)};
}

Finding check_room(const std::filesystem::path& directory, const BtrfsFacts& btrfs) {
  const std::string found =
      fmt::format("{} unallocated of {}", format_size(btrfs.unallocated), format_size(btrfs.total));
  if (btrfs.unallocated >= btrfs::default_reserve(btrfs.total))
    return {.subject = "room", .found = found};
  return bad("room", found, "arrivals pause: what is unallocated is kept for metadata",
             fmt::format("free some (icbd drop), give back half-empty block groups (btrfs balance "
                         "start -dusage=50 {}), or add a disk",
                         directory.string()));
}

// A balance that was interrupted leaves a kind of block groups in two profiles.
Finding check_profiles(const std::filesystem::path& directory, const BtrfsFacts& btrfs) {
  std::string found;
  bool is_mixed = false;
  for (const auto& [kind, profiles] : btrfs.profiles) {
    found += fmt::format("{}{} {}", found.empty() ? "" : ", ", kind, fmt::join(profiles, "+"));
    is_mixed = is_mixed || profiles.size() > 1;
  }
  if (!is_mixed) return {.subject = "profiles", .found = found};
  return bad("profiles", found, "part of it is not stored as safely as it should be",
             fmt::format("btrfs balance start -dconvert=PROFILE,soft -mconvert=PROFILE,soft {}",
                         directory.string()));
}

Finding check_devices(const BtrfsFacts& btrfs, const MountFacts& mount) {
  if (btrfs.missing_devices == 0 && !mount.options.contains("degraded"))
    return {.subject = "devices", .found = "all there"};
  return bad("devices",
             fmt::format("{} missing{}", btrfs.missing_devices,
                         mount.options.contains("degraded") ? ", mounted degraded" : ""),
             "one more that fails takes the repository with it",
             fmt::format("btrfs replace start, see btrfs device usage {}", mount.point.string()));
}

Finding check_options(const MountFacts& mount) {
  if (mount.options.contains("ro"))
    return bad("mount", "read-only", "nothing can be published or fetched",
               "look into the kernel's log for why; mount -o remount,rw");
  for (const char* const option : {"nodatasum", "nodatacow"})
    if (mount.options.contains(option))
      return {.subject = "mount",
              .verdict = Verdict::note,
              .found = option,
              .cost = "BTRFS does not notice what rots on the disk; icbd verify does",
              .advice = "mount without it"};
  if (mount.options.contains("autodefrag"))
    return {.subject = "mount",
            .verdict = Verdict::note,
            .found = "autodefrag",
            .cost = "what it rewrites is shared between versions no longer, and takes room twice",
            .advice = "mount without it"};
  return {.subject = "mount", .found = fmt::format("{}, read-write", mount.point.string())};
}

std::optional<std::uint16_t> port_of(const std::string& address) {
  const std::string_view digits = std::string_view(address).substr(address.rfind(':') + 1);
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (error != std::errc() || port == 0) return std::nullopt;
  return port;
}

Finding check_port(const std::string& key, const std::string& address, const MachineFacts& machine,
                   const Configuration& configuration, bool daemon_answers) {
  const std::string subject = fmt::format("{} listen", key);
  const auto port = port_of(address);
  if (!port || !machine.listening_ports.contains(*port)) {
    return {.subject = subject,
            .verdict = Verdict::good,
            .found = fmt::format("{}, free{}", address,
                                 port ? ": the daemon is not running" : " (the kernel chooses)")};
  }
  if (daemon_answers)
    return {.subject = subject,
            .found = fmt::format("{}, taken: icbd-{} answers", address,
                                 to_string(daemon_of(configuration)))};
  return bad(subject,
             fmt::format("{}, taken by something that is not icbd-{}", address,
                         to_string(daemon_of(configuration))),
             "the daemon cannot start",
             fmt::format("ss -ltnp 'sport = :{}' shows what it is", *port));
}

Finding check_version(const json& status) {
  const std::string version = text(status, "version");
  Finding finding{.subject = "version",
                  .found = fmt::format("icbd {} here, {} {} there", icbd::version(),
                                       text(status, "role"), version)};
  if (version == icbd::version()) return finding;
  finding.verdict = Verdict::note;
  finding.cost = "what one of them is too old for is refused";
  finding.advice = "run the same release on both";
  return finding;
}

// Seconds since 1970 of "2026-11-20T13:45:00Z".
std::optional<std::int64_t> parse_utc(const std::string& time) {
  std::tm parts{};
  const char* const end = ::strptime(time.c_str(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  if (end == nullptr || *end != '\0') return std::nullopt;
  return ::timegm(&parts);
}

// To the second, and the answer took its time.
Finding check_clock(const json& status, Timestamp now) {
  constexpr std::int64_t tolerance = 5;
  const auto there = parse_utc(text(status, "time"));
  if (!there)
    return {.subject = "clock",
            .verdict = Verdict::note,
            .found = "the server does not say what time it has"};
  const std::int64_t ahead = now.seconds - *there;
  if (std::abs(ahead) <= tolerance) return {.subject = "clock", .found = "as the server's"};
  return bad(
      "clock",
      fmt::format("{} s {} the server's", std::abs(ahead), ahead > 0 ? "ahead of" : "behind"),
      "times in lists and logs of different nodes do not fit together",
      "timedatectl set-ntp true, on both");
}

Finding check_followed(const json& master) {
  const std::string address = text(master, "address");
  if (master.value("reachable", false))
    return {.subject = "master", .found = fmt::format("{}, reachable", address)};
  const std::string error = text(master, "error");
  return bad("master",
             fmt::format("{}, not reachable{}", address, error.empty() ? "" : ": " + error),
             "what is not here cannot be read, and nothing new is seen",
             "is icbd-master running, is [data] listen what others can reach, is the port open "
             "in its firewall?");
}

Finding check_pulled_from(const json& source) {
  const std::string address = text(source, "address");
  if (source.value("reachable", false))
    return {.subject = "source", .found = fmt::format("{}, reachable", address)};
  const std::string error = text(source, "error");
  return bad("source",
             fmt::format("{}, not reachable{}", address, error.empty() ? "" : ": " + error),
             "nothing new comes; what is here is served",
             "try it by hand: ssh with the user, host, key and known_hosts of [source]");
}

// ssh refuses a key that others may read (sshkey_perm_ok(), authfile.c).
Finding check_key(const std::filesystem::path& key) {
  std::error_code error;
  const auto status = std::filesystem::status(key, error);
  if (!std::filesystem::is_regular_file(status))
    return bad("[source] key", fmt::format("there is no file {}", key.string()),
               "ssh cannot log in", fmt::format("ssh-keygen -t ed25519 -N '' -f {}", key.string()));
  using std::filesystem::perms;
  if ((status.permissions() & (perms::group_all | perms::others_all)) != perms::none)
    return bad("[source] key", fmt::format("others may read or write {}", key.string()),
               "ssh does not use it", fmt::format("chmod 600 {}", key.string()));
  return {.subject = "[source] key", .found = key.string()};
}

}  // namespace

std::string_view to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::good:
      return "good";
    case Verdict::note:
      return "note";
    case Verdict::bad:
      break;
  }
  return "bad";
}

std::vector<Finding> check_machine(const MachineFacts& machine) {
  return {check_kernel(machine), check_fuse(machine), check_send(machine), check_io_uring(machine),
          check_memory(machine)};
}

Finding check_descriptors(std::uint64_t hard_limit) {
  constexpr std::uint64_t enough = 65'536;
  if (hard_limit >= enough) return {.subject = "descriptors", .found = "enough"};
  return {.subject = "descriptors",
          .verdict = Verdict::note,
          .found = fmt::format("at most {} for each process", hard_limit),
          .cost = "each file that clients have open in the view takes one; then opens fail",
          .advice = "LimitNOFILE=524288 in the unit, or ulimit -Hn where the daemon is started"};
}

std::vector<Finding> check_repository(const std::filesystem::path& directory,
                                      const std::optional<MountFacts>& mount,
                                      const std::optional<BtrfsFacts>& btrfs) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(directory, ignored))
    return {bad("repository", fmt::format("there is no directory {}", directory.string()),
                "the daemon cannot start",
                fmt::format("mkdir -p {}, on BTRFS", directory.string()))};
  if (!mount || mount->type != "btrfs")
    return {bad("repository",
                fmt::format("{} is on {}", directory.string(), mount ? mount->type : "nothing"),
                "the daemon cannot start: versions are BTRFS snapshots",
                "put it on a BTRFS: mkfs.btrfs, mount, [repository] path")};
  std::vector<Finding> findings{
      {.subject = "repository",
       .found = fmt::format("{}, on {}", directory.string(), mount->source)},
      check_options(*mount)};
  if (btrfs) {
    findings.push_back(check_room(directory, *btrfs));
    findings.push_back(check_profiles(directory, *btrfs));
    findings.push_back(check_devices(*btrfs, *mount));
  }
  return findings;
}

std::vector<Finding> check_source(const Configuration& configuration, bool ssh_is_there) {
  const auto* const cache = std::get_if<config::Cache>(&configuration);
  if (cache == nullptr || cache->source_url.empty()) return {};
  std::vector<Finding> findings;
  if (!ssh_is_there)
    findings.push_back(bad("[source] url", "there is no ssh on this machine",
                           "nothing can be fetched", "apt install openssh-client"));
  else
    findings.push_back({.subject = "[source] url", .found = cache->source_url});
  if (!cache->source_key.empty()) findings.push_back(check_key(cache->source_key));
  std::error_code ignored;
  const auto& hosts = cache->source_known_hosts;
  if (!hosts.empty() && !std::filesystem::is_regular_file(hosts, ignored))
    findings.push_back(bad("[source] known_hosts",
                           fmt::format("there is no file {}", hosts.string()),
                           "every host is refused",
                           "ssh-keyscan HOST prints the key: compare it with the one there first"));
  return findings;
}

std::vector<Finding> check_ports(const Configuration& configuration, const MachineFacts& machine,
                                 bool daemon_answers) {
  const auto check = [&](const std::string& key, const std::string& address) {
    return check_port(key, address, machine, configuration, daemon_answers);
  };
  if (const auto* const master = std::get_if<config::Master>(&configuration))
    return {check("[rest]", master->rest_listen), check("[data]", master->data_listen)};
  return {check("[rest]", std::get<config::Cache>(configuration).rest_listen)};
}

std::vector<Finding> check_server(const std::string& url, const json& status, Timestamp now) {
  std::vector<Finding> findings{{.subject = "server", .found = fmt::format("{} answers", url)},
                                check_version(status),
                                check_clock(status, now)};
  if (const json master = object_in(status, "master"); !master.empty())
    findings.push_back(check_followed(master));
  if (const json source = object_in(status, "source"); !source.empty())
    findings.push_back(check_pulled_from(source));
  return findings;
}

}  // namespace icbd::cli
