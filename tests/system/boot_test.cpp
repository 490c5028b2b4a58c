// A real operating system boots from the view while the worker is killed: the guest sees no error.
// Only with ICBD_LONG=1: it fetches a Debian. The seed is printed.

#include <fmt/format.h>

#include <chrono>

#include "harness/random_tree.h"
#include "system/long_run.h"
#include "system/site.h"
#include "system/worker_kills.h"

namespace icbd::system_test {
namespace {

using namespace std::chrono_literals;

const std::string image = "debian";
// Of each connection to the master: the version still arrives when the guest is up.
constexpr std::uint64_t bytes_per_second = 16 * 1024 * 1024;
constexpr auto boot_deadline = 300s;

class BootTest : public SiteTest {
 protected:
  void SetUp() override {
    if (!is_long_run()) GTEST_SKIP() << "fetches a Debian; set ICBD_LONG=1";
    if (harness::shell("command -v qemu-system-x86_64 debootstrap").value().exit_code != 0)
      GTEST_SKIP() << "a package is missing: mount-helpers/install-packages demo";
    ASSERT_NO_FATAL_FAILURE(SiteTest::SetUp());
    if (!site) return;
    fmt::print("ICBD_TEST_SEED={}\n", seed);
    const auto made =
        harness::run({ICBD_MOUNT_HELPERS "/make-debian-image", "base", site->live().string()});
    ASSERT_DONE(made);
    if (made->exit_code != 0) GTEST_SKIP() << "no image could be made: " << made->output;
    ASSERT_DONE(site->use_proxy());
    ASSERT_DONE(site->publish(image));
    site->proxy().set_rate(bytes_per_second);
    ASSERT_DONE(site->start_cache());
    ASSERT_DONE(site->wait_until_listed(image, 1));
  }

  Result<std::unique_ptr<harness::Process>> start_guest() const {
    const auto version = site->view(image, 1);
    return harness::Process::start(
        {"setpriv",
         "--pdeathsig",
         "KILL",
         "qemu-system-x86_64",
         "-accel",
         "tcg",
         "-m",
         "512",
         "-nographic",
         "-no-reboot",
         "-nic",
         "none",
         "-kernel",
         version / "boot/vmlinuz",
         "-initrd",
         version / "boot/initrd.img",
         "-append",
         "root=/dev/vda ro console=ttyS0 init=/sbin/boot-report panic=-1",
         "-drive",
         fmt::format("file={},format=raw,if=virtio,snapshot=on", (version / "disk.raw").string())},
        {.log_directory = site->folder(), .name = "guest"});
  }
  // Whoever answers: the worker may be dying.
  std::string served_files() const {
    std::string files;
    EXPECT_TRUE(Site::wait_until(
        [&] {
          const auto status = site->ask_cache("/api/status");
          if (status) files = status->at("view").at("served_files").dump();
          return status.has_value();
        },
        "the status of the cache"));
    return files;
  }
  // Boots until the guest's report, which names its packages; every error is in its log.
  void expect_boots_under_kills() {
    const auto begun = std::chrono::steady_clock::now();
    WorkerKills kills(site->cache().id(), static_cast<unsigned>(seed));
    const auto guest = start_guest();
    ASSERT_DONE(guest);
    ASSERT_DONE((*guest)->wait_for_line("[    0.000000] Command line: ", boot_deadline));
    while_it_runs_ = served_files();
    const auto report = (*guest)->wait_for_line("BOOT-REPORT base ", boot_deadline);
    kills.stop();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
    ASSERT_TRUE(report) << report.error().message();
    fmt::print("{} after it: up after {:.1f} s and {} kills\n", site->state(image, 1), took.count(),
               kills.count());
    EXPECT_GE(kills.count(), 10);
    const auto packages =
        harness::run_checked({"cat", (site->live() / "packages.sha256").string()});
    ASSERT_DONE(packages);
    EXPECT_NE(report->find(packages->substr(0, 64)), std::string::npos) << *report;
    const std::string log = (*guest)->output();
    EXPECT_NE(log.find("EXT4-fs (vda): mounted"), std::string::npos) << log;
    for (const char* error : {"I/O error", "EXT4-fs error", "SQUASHFS error", "BUG:"})
      EXPECT_EQ(log.find(error), std::string::npos) << log;
  }

  const std::uint64_t seed = harness::test_seed();
  std::string while_it_runs_;
};

TEST_F(BootTest, ADebianBootsWhileItArrivesAndAfterWhileTheWorkerIsKilled) {
  expect_boots_under_kills();
  EXPECT_EQ(site->state(image, 1), "arriving");
  EXPECT_NE(while_it_runs_.find("disk.raw"), std::string::npos) << while_it_runs_;
  site->proxy().set_rate(0);
  ASSERT_DONE(site->wait_until_complete(image, 1));
  expect_boots_under_kills();
  EXPECT_EQ(while_it_runs_, "[]") << "started anew, a guest's disk is read by the kernel itself";
}

}  // namespace
}  // namespace icbd::system_test
