// `icbd doctor`: what it reads of a machine (one of files), and what it makes of it.
#include <gmock/gmock.h>

#include <algorithm>
#include <fstream>

#include "icbd/base/version.h"

#include "doctor_checks.h"
#include "doctor_facts.h"
#include "fake_server.h"
#include "harness/temporary_directory.h"

namespace icbd::cli {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

// A machine made of files.
struct DoctorTest : testing::CliTest {
  DoctorTest() {
    write("proc/sys/kernel/osrelease", "6.12.9-amd64\n");
    write("proc/meminfo", "MemTotal:        4194304 kB\nMemFree:  1 kB\n");
    write("proc/net/tcp",
          "  sl  local_address rem_address   st\n"
          "   0: 0100007F:1391 00000000:0000 0A\n"
          "   1: 0100007F:1392 0100007F:9999 01\n");
    write("dev/fuse", "");
    write("sys/fs/btrfs/features/send_stream_version", "2\n");
    write("proc/self/mountinfo",
          "20 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n"
          "21 20 0:30 / " +
              repository() + " rw,noatime shared:5 - btrfs /dev/sdb ro,autodefrag\n");
    const std::string filesystem = "sys/fs/btrfs/11111111-2222-3333-4444-555555555555/";
    write(filesystem + "devices/sdb/size", "20971520\n");  // 10 GiB
    write(filesystem + "devinfo/1/missing", "0\n");
    write(filesystem + "allocation/data/disk_total", "5368709120\n");  // 5 GiB
    write(filesystem + "allocation/data/single/total_bytes", "5368709120\n");
    write(filesystem + "allocation/metadata/disk_total", "2147483648\n");  // 2 GiB
    write(filesystem + "allocation/metadata/dup/total_bytes", "1073741824\n");
    std::filesystem::create_directories(repository());
  }
  std::string repository() const { return root / "srv/icbd"; }
  void write(const std::string& file, const std::string& text) const {
    std::filesystem::create_directories((root / file).parent_path());
    std::ofstream(root / file) << text;
  }
  int doctor(std::vector<std::string> arguments = {}) {
    arguments.insert(arguments.begin(), "doctor");
    return cli::run(arguments,
                    {.server = server.url(),
                     .working_directory = "/",
                     .configuration_directory = root / "etc/icbd",
                     .machine_root = root},
                    fake.terminal());
  }
  void answer_status() {
    server.on("GET /api/status",
              {{"role", "cache"},
               {"version", icbd::version()},
               {"time", format_utc(fake.clock.wall())},
               {"master", {{"address", "imgs.example:5010"}, {"reachable", true}}}});
  }

  const harness::TemporaryDirectory directory = harness::TemporaryDirectory::create().value();
  const std::filesystem::path& root = directory.path();
};

Verdict verdict_on(const std::vector<Finding>& findings, const std::string& subject) {
  const auto found = std::ranges::find(findings, subject, &Finding::subject);
  EXPECT_NE(found, findings.end()) << subject;
  return found == findings.end() ? Verdict::bad : found->verdict;
}

TEST_F(DoctorTest, ReadsTheMachine) {
  const MachineFacts facts = look_at_machine(root);
  EXPECT_EQ(facts.kernel, (KernelVersion{6, 12}));
  EXPECT_TRUE(facts.fuse_device);
  EXPECT_EQ(facts.send_stream_version, 2);
  EXPECT_EQ(facts.memory, std::uint64_t{4} << 30);
  EXPECT_THAT(facts.listening_ports, UnorderedElementsAre(5009));  // not the one that is connected
}

TEST_F(DoctorTest, FindsTheMountAndItsFilesystem) {
  const auto mount = find_mount(root, repository() + "/win11");
  ASSERT_TRUE(mount);
  EXPECT_EQ(mount->type, "btrfs");
  EXPECT_THAT(mount->options, UnorderedElementsAre("rw", "noatime", "ro", "autodefrag"));
  const auto btrfs = look_at_btrfs(root, *mount);
  ASSERT_TRUE(btrfs);
  EXPECT_EQ(btrfs->total, std::uint64_t{10} << 30);
  EXPECT_EQ(btrfs->unallocated, std::uint64_t{3} << 30);
  EXPECT_THAT(btrfs->profiles.at("metadata"), UnorderedElementsAre("dup"));
}

TEST_F(DoctorTest, AKernelThatIsTooOldIsBadAndAnOlderOneIsANote) {
  MachineFacts machine = look_at_machine(root);
  EXPECT_EQ(verdict_on(check_machine(machine), "kernel"), Verdict::good);
  machine.kernel = {6, 1};
  EXPECT_EQ(verdict_on(check_machine(machine), "kernel"), Verdict::note);
  machine.kernel = {5, 15};
  machine.send_stream_version = 1;
  EXPECT_EQ(verdict_on(check_machine(machine), "kernel"), Verdict::bad);
  EXPECT_EQ(verdict_on(check_machine(machine), "BTRFS"), Verdict::bad);
  machine.fuse_device = false;
  EXPECT_EQ(verdict_on(check_machine(machine), "FUSE"), Verdict::bad);
}

TEST_F(DoctorTest, IoUringThatNobodyMayUseCostsAMasterSpeed) {
  for (const char* allowed : {"0\n", "1\n"}) {
    write("proc/sys/kernel/io_uring_disabled", allowed);
    EXPECT_EQ(verdict_on(check_machine(look_at_machine(root)), "io_uring"), Verdict::good);
  }
  write("proc/sys/kernel/io_uring_disabled", "2\n");
  const auto findings = check_machine(look_at_machine(root));
  const auto found = std::ranges::find(findings, "io_uring", &Finding::subject);
  ASSERT_NE(found, findings.end());
  EXPECT_EQ(found->verdict, Verdict::note);
  EXPECT_THAT(found->cost, HasSubstr("a master reads for its caches"));
  EXPECT_THAT(found->advice, HasSubstr("kernel.io_uring_disabled=0"));
}

TEST_F(DoctorTest, JudgesTheRepositorysFilesystem) {
  auto mount = find_mount(root, repository());
  auto btrfs = look_at_btrfs(root, *mount);
  const auto judge = [&](const std::string& subject) {
    return verdict_on(check_repository(repository(), mount, btrfs), subject);
  };
  EXPECT_EQ(judge("mount"), Verdict::bad);  // "ro"
  mount->options.erase("ro");
  EXPECT_EQ(judge("mount"), Verdict::note);  // "autodefrag"
  EXPECT_EQ(judge("room"), Verdict::good);
  btrfs->unallocated = 100u << 20;
  EXPECT_EQ(judge("room"), Verdict::bad);
  EXPECT_EQ(judge("profiles"), Verdict::good);
  btrfs->profiles["data"].insert("raid1");
  EXPECT_EQ(judge("profiles"), Verdict::bad);
  EXPECT_EQ(judge("devices"), Verdict::good);
  btrfs->missing_devices = 1;
  EXPECT_EQ(judge("devices"), Verdict::bad);
  mount->type = "ext4";
  EXPECT_EQ(judge("repository"), Verdict::bad);
}

TEST_F(DoctorTest, APortThatSomebodyElseHasIsBad) {
  const MachineFacts machine = look_at_machine(root);
  const Configuration cache = config::Cache{};
  EXPECT_EQ(verdict_on(check_ports(cache, machine, true), "[rest] listen"), Verdict::good);
  EXPECT_EQ(verdict_on(check_ports(cache, machine, false), "[rest] listen"), Verdict::bad);
  EXPECT_EQ(verdict_on(check_ports(config::Master{}, machine, false), "[data] listen"),
            Verdict::good);
}

TEST_F(DoctorTest, ComparesVersionsAndClocks) {
  json status{{"role", "master"}, {"version", icbd::version()}, {"time", "2026-11-20T13:45:00Z"}};
  const std::int64_t then = 1'795'182'300;
  EXPECT_EQ(verdict_on(check_server("", status, {.seconds = then + 2}), "clock"), Verdict::good);
  EXPECT_EQ(verdict_on(check_server("", status, {.seconds = then + 60}), "clock"), Verdict::bad);
  EXPECT_EQ(verdict_on(check_server("", status, {.seconds = then}), "version"), Verdict::good);
  status["version"] = "0.0.1";
  EXPECT_EQ(verdict_on(check_server("", status, {.seconds = then}), "version"), Verdict::note);
  status["master"] = {{"address", "a:1"}, {"reachable", false}};
  EXPECT_EQ(verdict_on(check_server("", status, {.seconds = then}), "master"), Verdict::bad);
}

TEST_F(DoctorTest, SaysWhatToDoAndThatThereIsSomething) {
  answer_status();
  write("etc/icbd/cache.toml", fmt::format("[repository]\npath = \"{}\"\n", repository()));
  EXPECT_EQ(doctor(), exit_failed);
  EXPECT_THAT(out(), HasSubstr("bad   mount: read-only\n"
                               "      costs: nothing can be published or fetched\n"
                               "      to do: look into the kernel's log"));
  EXPECT_THAT(out(), HasSubstr("good  room: 3.0 GiB unallocated of 10.0 GiB\n"));
}

TEST_F(DoctorTest, AllIsWell) {
  answer_status();
  EXPECT_EQ(doctor(), exit_done) << out();
  EXPECT_THAT(out(), ::testing::EndsWith("all is well\n"));
}

TEST_F(DoctorTest, AServerThatIsNotThereAndAWrongConfigurationAreThingsToDo) {
  server.stop();
  write("wrong.toml", "[kitchen]\n");
  EXPECT_EQ(doctor({"--config", root / "wrong.toml", "--json"}), exit_failed);
  int bad = 0;
  const json report = json::parse(out());
  for (const json& finding : report["findings"])
    if (finding["verdict"] == "bad") ++bad;
  EXPECT_EQ(bad, 2);
}

TEST_F(DoctorTest, WhatSshNeedsIsLookedAtWhereItIsNeeded) {
  config::Cache cache;
  EXPECT_TRUE(check_source(cache, false).empty());
  cache.source_url = "ssh://disks.example/srv";
  EXPECT_EQ(verdict_on(check_source(cache, true), "[source] url"), Verdict::good);
  EXPECT_EQ(verdict_on(check_source(cache, false), "[source] url"), Verdict::bad);
  cache.source_key = root / "key";
  cache.source_known_hosts = root / "known_hosts";
  EXPECT_EQ(verdict_on(check_source(cache, true), "[source] key"), Verdict::bad);
  EXPECT_EQ(verdict_on(check_source(cache, true), "[source] known_hosts"), Verdict::bad);
  write("key", "secret");
  write("known_hosts", "");
  std::filesystem::permissions(cache.source_key, std::filesystem::perms(0640));
  EXPECT_EQ(verdict_on(check_source(cache, true), "[source] key"), Verdict::bad);
  std::filesystem::permissions(cache.source_key, std::filesystem::perms(0600));
  EXPECT_EQ(verdict_on(check_source(cache, true), "[source] key"), Verdict::good);
}

TEST_F(DoctorTest, AMachineWithoutIcbdThatCannotBeReachedIsFound) {
  json status{{"role", "cache"},
              {"version", icbd::version()},
              {"time", "2026-11-20T13:45:00Z"},
              {"master", nullptr},
              {"source", {{"address", "ssh://a/b"}, {"reachable", false}, {"error", "no route"}}}};
  EXPECT_EQ(verdict_on(check_server("", status, {}), "source"), Verdict::bad);
  status["source"]["reachable"] = true;
  EXPECT_EQ(verdict_on(check_server("", status, {}), "source"), Verdict::good);
}

}  // namespace
}  // namespace icbd::cli
