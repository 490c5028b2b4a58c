// The worker dies, hangs and is replaced under readers that know what every byte must be: they see
// a delay at most. The randomized ones print their seed; ICBD_LONG=1 runs all of them.

#include <fcntl.h>
#include <fmt/format.h>

#include <atomic>
#include <fstream>
#include <random>
#include <set>
#include <thread>

#include "icbd/base/file.h"
#include "icbd/base/version.h"

#include "system/checked_readers.h"
#include "system/fio_readers.h"
#include "system/long_run.h"
#include "system/site.h"

namespace icbd::system_test {
namespace {

using namespace std::chrono_literals;

const std::string image = "image";
constexpr std::size_t disk_size = 24 * 1024 * 1024;
const std::string fio_file = "fio.raw";
constexpr std::size_t fio_size = 4 * 1024 * 1024;

// The process that serves: the holder's only child. 0 if there is none at the moment.
pid_t worker_of(pid_t holder) {
  std::ifstream children(fmt::format("/proc/{0}/task/{0}/children", holder));
  pid_t worker = 0;
  children >> worker;
  return worker;
}

// False of one that has ended and was not reaped yet.
bool runs(pid_t process) {
  std::ifstream status(fmt::format("/proc/{}/stat", process));
  std::string number, name, state;
  status >> number >> name >> state;
  return status && state != "Z" && state != "X";
}

class HolderTest : public SiteTest {
 protected:
  void SetUp() override {
    SiteTest::SetUp();
    if (!site) return;
    RecordProperty("seed", static_cast<int>(seed));
    fmt::print("seed {}\n", seed);
    change(
        fmt::format("head -c {} /dev/urandom > disk.raw; mkdir many; "
                    "for i in $(seq 1 40); do head -c 20000 /dev/urandom > many/$i; done; {}",
                    disk_size, more_content()));
    ASSERT_DONE(site->publish(image));
    choose_program();
    ASSERT_DONE(site->start_cache());
  }

  // Of the first version: a command of the shell.
  virtual std::string more_content() const { return "true"; }
  // Which one the cache is; the build's own if nothing is said.
  virtual void choose_program() {}

  void complete_version(int number) {
    const auto pulled = site->cache_client().post(
        fmt::format("/api/images/{}/versions/{}/pull", image, number), nlohmann::json());
    ASSERT_DONE(pulled);
    ASSERT_DONE(site->wait_until_complete(image, number));
  }

  Known known(int number, const std::string& name) const {
    return {site->view(image, number) / name,
            read_file(site->master_version(image, number) / name, disk_size).value()};
  }
  std::vector<Known> small_files(int number) const {
    std::vector<Known> files;
    for (int i = 1; i <= 40; ++i) files.push_back(known(number, fmt::format("many/{}", i)));
    return files;
  }

  pid_t worker() const { return worker_of(site->cache().id()); }

  // Kills the worker that serves now, and waits until another one is there.
  void kill_worker() {
    const pid_t victim = worker();
    if (victim != 0) ::kill(victim, SIGKILL);
    ASSERT_DONE(Site::wait_until(
        [&] {
          const pid_t now = worker();
          return now != 0 && now != victim;
        },
        "the next worker"));
    ++kills_;
  }
  void kill_workers(int count) {
    for (int i = 0; i < count && !HasFatalFailure(); ++i) {
      kill_worker();
      std::this_thread::sleep_for(std::chrono::milliseconds(10 + random_() % 51));
    }
  }
  // Each gets so far as to serve, and a little further.
  void kill_serving_workers(int count) {
    for (int i = 0; i < count && !HasFatalFailure(); ++i) {
      expect_alive();
      std::this_thread::sleep_for(std::chrono::milliseconds(random_() % 200));
      kill_worker();
    }
  }
  // The one that is there now answers.
  void expect_alive() {
    ASSERT_DONE(Site::wait_until(
        [&] {
          const auto status = site->ask_cache("/api/status");
          return status && status->at("worker").at("process") == worker();
        },
        "the worker to answer"));
  }

  std::filesystem::path configuration() const { return site->folder() / "cache.toml"; }
  // Files are read by the kernel and by the cache, from their beginning and anew.
  void add_readers(Readers& readers, const Known& disk, const std::vector<Known>& files) const {
    add_held_reader(readers, disk, 0);
    add_held_reader(readers, disk, O_DIRECT);
    add_opening_reader(readers, files);
    add_looking_reader(readers, files);
  }
  void expect_logged(const std::string& text) {
    ASSERT_DONE(Site::wait_until(
        [&] { return site->cache().error_output().find(text) != std::string::npos; },
        "the log to say: " + text));
  }

  void expect_no_errors(Readers& readers) {
    readers.stop();
    for (const std::string& error : readers.errors()) ADD_FAILURE() << error;
    fmt::print("{} operations, {} kills, the longest wait {:.0f} ms\n", readers.operations(),
               kills_, readers.worst_milliseconds());
    RecordProperty("longest_wait_ms", fmt::format("{:.1f}", readers.worst_milliseconds()));
  }

  const unsigned seed = std::random_device()();
  std::mt19937 random_{seed};
  int kills_ = 0;
};

// With a file that fio has laid out, and reads.
class KillsTest : public HolderTest {
 protected:
  std::string more_content() const override { return layout(1); }
  static std::string layout(int number) {
    return fio_layout_command(fio_file, fio_size, static_cast<unsigned>(number));
  }
  std::filesystem::path laid_out(int number) const { return site->view(image, number) / fio_file; }

  static void expect_no_errors(FioReaders& fio) {
    const auto found = fio.stop();
    ASSERT_DONE(found);
    fmt::print("fio: {} reads, the longest wait {:.0f} ms\n", found->reads,
               found->longest_wait_milliseconds);
  }
  using HolderTest::expect_no_errors;
};

TEST_F(KillsTest, OfTheWorkerAreNotSeenByReaders) {
  complete_version(1);
  const Known disk = known(1, "disk.raw");
  const std::vector<Known> files = small_files(1);
  Readers readers;
  add_held_reader(readers, disk, 0);
  add_held_reader(readers, disk, O_DIRECT);
  add_mapping_reader(readers, disk);
  add_opening_reader(readers, files);
  add_looking_reader(readers, files);
  const auto fio = FioReaders::start(*site, laid_out(1));
  ASSERT_DONE(fio);
  kill_workers(is_long_run() ? 3000 : 200);
  expect_no_errors(**fio);
  expect_no_errors(readers);
  expect_alive();
  EXPECT_EQ(site->ask_cache("/api/status").value().at("view").at("served_files").size(), 0u);
}

// As on a kernel that cannot send requests again: the cache keeps them itself. Files are served, so
// that there are many of them.
TEST_F(KillsTest, AreNotSeenWhereTheKernelCannotSendRequestsAgain) {
  ASSERT_DONE(site->stop_cache());
  site->set_cache_settings({"view.resend=false", "view.passthrough=false"});
  ASSERT_DONE(site->start_cache());
  complete_version(1);
  const Known disk = known(1, "disk.raw");
  const std::vector<Known> files = small_files(1);
  Readers readers;
  add_held_reader(readers, disk, O_DIRECT);
  add_held_reader(readers, disk, O_DIRECT);
  add_opening_reader(readers, files);
  add_looking_reader(readers, files);
  const auto fio = FioReaders::start(*site, laid_out(1));
  ASSERT_DONE(fio);
  kill_workers(is_long_run() ? 1000 : 100);
  expect_no_errors(**fio);
  expect_no_errors(readers);
  expect_alive();
  const auto view = site->ask_cache("/api/status").value().at("view");
  EXPECT_EQ(view.at("features").at("resend"), false);
  EXPECT_EQ(view.at("served_files").size(), 0u) << "what is closed has been released";
}

// Versions come, are read while they arrive, land and are dropped, and come again.
TEST_F(KillsTest, AreNotSeenWhileVersionsArriveLandAndAreDropped) {
  ASSERT_DONE(site->stop_cache());
  ASSERT_DONE(site->use_proxy());
  site->proxy().set_rate(12 * 1024 * 1024);
  ASSERT_DONE(site->start_cache());
  constexpr int versions = 4;
  for (int number = 2; number <= versions; ++number) {
    change(
        fmt::format("for i in 1 2 3 4; do dd if=/dev/urandom of=disk.raw bs=1M count=2 "
                    "seek=$((RANDOM % 20)) conv=notrunc status=none; done; "
                    "head -c 20000 /dev/urandom > many/{}; {}",
                    number, layout(number)));
    ASSERT_DONE(site->publish(image));
  }
  ASSERT_DONE(site->wait_until_listed(image, versions));
  std::vector<Known> disks, files;
  std::vector<std::filesystem::path> fio_files;
  for (int number = 1; number <= versions; ++number) {
    disks.push_back(known(number, "disk.raw"));
    files.push_back(known(number, "many/1"));
    files.push_back(known(number, fmt::format("many/{}", number)));
    fio_files.push_back(laid_out(number));
  }
  Readers readers;
  add_opening_reader(readers, disks);
  add_opening_reader(readers, disks);
  add_opening_reader(readers, files);
  add_looking_reader(readers, files);
  add_fio_reader(readers, fio_files);
  std::atomic<bool> stopped = false;
  std::atomic<int> dropped = 0;
  std::jthread dropper([&] {
    std::mt19937 random(seed + 1);
    while (!stopped) {
      const std::string path =
          fmt::format("/api/images/{}/versions/{}", image, 1 + random() % versions);
      // Refused while it is held, or while nobody answers.
      if (site->cache_client().remove(path)) ++dropped;
      // More often than that, a path that is being walked loses its version twice, and after eight
      // drops within the ten seconds for which names are remembered, generations repeat.
      std::this_thread::sleep_for(500ms);
    }
  });
  kill_serving_workers(is_long_run() ? 1000 : 100);
  stopped = true;
  dropper.join();
  expect_no_errors(readers);
  fmt::print("{} drops\n", dropped.load());
  expect_alive();
  for (int number = 1; number <= versions; ++number) {
    complete_version(number);
    expect_landed_equal(image, number);
  }
}

TEST_F(HolderTest, AWorkerThatHangsIsReplaced) {
  ASSERT_DONE(site->stop_cache());
  site->set_cache_settings({"view.worker_timeout=0.6"});
  ASSERT_DONE(site->start_cache());
  complete_version(1);
  const std::vector<Known> files = small_files(1);
  Readers readers;
  add_opening_reader(readers, files);
  add_looking_reader(readers, files);
  const pid_t hung = worker();
  ASSERT_EQ(::kill(hung, SIGSTOP), 0);
  ASSERT_DONE(
      Site::wait_until([&] { return worker() != hung && worker() != 0; }, "another worker"));
  expect_alive();
  expect_no_errors(readers);
  const auto status = site->ask_cache("/api/status").value();
  EXPECT_EQ(status.at("worker").at("last_end"), "it hung");
  EXPECT_NE(
      site->cache().error_output().find("the worker has said nothing for 600 ms: it is killed"),
      std::string::npos);
}

TEST_F(HolderTest, SaysHowTheWorkerBeforeEnded) {
  kill_worker();
  expect_alive();
  const auto status = site->ask_cache("/api/status").value();
  EXPECT_EQ(status.at("worker").at("starts"), 2);
  EXPECT_EQ(status.at("worker").at("last_end"), "it was ended by signal 9 (KILL)");
  EXPECT_NE(site->cache().error_output().find(
                "the worker died: it was ended by signal 9 (KILL); the next one takes over"),
            std::string::npos);
}

// The file is somebody's work in progress, and the worker dies meanwhile, again and again.
TEST_F(HolderTest, AnErrorInTheConfigurationIsNotSeenByReaders) {
  complete_version(1);
  const Known disk = known(1, "disk.raw");
  const std::vector<Known> files = small_files(1);
  Readers readers;
  add_readers(readers, disk, files);
  ASSERT_DONE(write_file(configuration(), as_bytes("[repository\npath = ")));
  ASSERT_DONE(site->cache().signal(SIGHUP));
  expect_logged("nothing was reloaded: " + configuration().string() + ":1: ");
  kill_serving_workers(3);
  expect_alive();
  expect_no_errors(readers);
  expect_logged("the configuration has an error, and goes on as it was: " +
                configuration().string() + ":1: ");
  EXPECT_EQ(site->ask_cache("/api/status").value().at("worker").at("starts"), 4)
      << "each of them came up";
}

// Numbers that the kernel remembers mean something in one repository alone.
TEST_F(HolderTest, AMountGoesOnWithTheRepositoryThatItBeganWith) {
  complete_version(1);
  const Known disk = known(1, "disk.raw");
  const std::vector<Known> files = small_files(1);
  const auto repository = [&] {
    return site->ask_cache("/api/status").value().at("repository").at("path").get<std::string>();
  };
  const std::string own = repository();
  Readers readers;
  add_readers(readers, disk, files);
  const auto text = read_file(configuration(), 1u << 20);
  ASSERT_DONE(text);
  std::string other(as_text(*text));
  std::filesystem::create_directory(site->cache_root() / "other");
  other.replace(other.find(own), own.size(), (site->cache_root() / "other").string());
  ASSERT_DONE(write_file(configuration(), as_bytes(other + "timeout = 7\n")));
  kill_serving_workers(3);
  expect_alive();
  expect_no_errors(readers);
  EXPECT_EQ(repository(), own);
  expect_logged(
      "[repository] path is different in the configuration, and changes only with a "
      "restart");
  // What can change is in force already.
  ASSERT_DONE(site->cache().signal(SIGHUP));
  expect_logged("configuration read again; changed: nothing");
}

TEST_F(HolderTest, WhatTheKernelRemembersFollowsTheCatalogAfterAKill) {
  complete_version(1);
  const auto names = [&] {
    std::set<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(site->mountpoint() / image))
      found.insert(entry.path().filename());
    return found;
  };
  EXPECT_EQ(names(), (std::set<std::string>{"1", "current", "latest"}));
  for (int number = 2; number <= 4; ++number) {
    change("date +%N > many/1");
    kill_worker();
    ASSERT_DONE(site->publish(image));
    ASSERT_DONE(Site::wait_until([&] { return names().contains(std::to_string(number)); },
                                 fmt::format("version {} in the listing", number)));
    ASSERT_DONE(Site::wait_until(
        [&] {
          return std::filesystem::read_symlink(site->mountpoint() / image / "latest") ==
                 std::to_string(number);
        },
        "the link to the newest"));
  }
}

// Both at once, as when the machine is out of memory: the next start cleans up.
TEST_F(HolderTest, WhenTheHolderDiesTooTheNextStartServesAgain) {
  complete_version(1);
  const Known disk = known(1, "disk.raw");
  for (int round = 0; round < 5; ++round) {
    const pid_t last = worker();
    ASSERT_DONE(site->cache().signal(SIGKILL));
    ASSERT_DONE(site->cache().wait_for_exit(10s));
    ASSERT_DONE(Site::wait_until([&] { return !runs(last); }, "the worker to die with it"));
    ASSERT_DONE(site->start_cache());
    EXPECT_EQ(read_file(disk.path, disk_size).value(), disk.content);
  }
}

// A build of its own: the same program with another version's name in it.
std::filesystem::path make_other_build(const std::filesystem::path& folder) {
  const auto path = folder / "icbd-cache-next";
  const Bytes program = read_file(std::string(ICBD_PROGRAMS) + "/icbd-cache", 1u << 30).value();
  std::string text(as_text(program));
  const std::string own = std::string(version()) + std::string(1, '\0');
  std::size_t replaced = 0;
  for (auto at = text.find(own); at != std::string::npos; at = text.find(own, at + 1)) {
    text[at] = '9';
    ++replaced;
  }
  EXPECT_GT(replaced, 0u) << "the version is not in the program";
  std::ofstream(path, std::ios::binary) << text;
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  return path;
}

// The cache's program lies in a folder of its own, where others can be put beside it.
class UpgradeTest : public HolderTest {
 protected:
  void choose_program() override {
    std::filesystem::create_directory(installed().parent_path());
    std::filesystem::copy(std::string(ICBD_PROGRAMS) + "/icbd-cache", installed());
    site->set_cache_program(installed());
  }
  std::filesystem::path installed() const { return site->folder() / "bin" / "icbd-cache"; }

  nlohmann::json status() const { return site->ask_cache("/api/status").value(); }
  Result<std::string> upgrade(const std::filesystem::path& program) {
    return harness::run_checked({std::string(ICBD_PROGRAMS) + "/icbd", "--server",
                                 "http://" + site->cache_rest(), "upgrade", "--program",
                                 program.string()});
  }
};

TEST_F(UpgradeTest, TheWorkerIsReplacedUnderLoad) {
  complete_version(1);
  const auto other = make_other_build(installed().parent_path());
  const Known disk = known(1, "disk.raw");
  const std::vector<Known> files = small_files(1);
  Readers readers;
  add_held_reader(readers, disk, 0);
  add_mapping_reader(readers, disk);
  add_opening_reader(readers, files);
  add_looking_reader(readers, files);
  const std::string own = status().at("version");
  const int upgrades = is_long_run() ? 200 : 10;
  for (int i = 0; i < upgrades; ++i) {
    const bool to_other = i % 2 == 0;
    const auto done = upgrade(to_other ? other : installed());
    ASSERT_DONE(done);
    EXPECT_EQ(status().at("version") == own, !to_other) << *done;
  }
  EXPECT_NE(site->cache().error_output().find("the worker was replaced"), std::string::npos);
  expect_no_errors(readers);
}

TEST_F(UpgradeTest, AnArrivalGoesOnInTheNextWorker) {
  ASSERT_DONE(site->stop_cache());
  ASSERT_DONE(site->use_proxy());
  site->proxy().set_rate(8 * 1024 * 1024);
  ASSERT_DONE(site->start_cache());
  const Known disk = known(1, "disk.raw");
  const auto open = open_file(disk.path, O_RDONLY);
  ASSERT_DONE(open);
  Bytes bytes(disk_size);
  ASSERT_DONE(read_exactly_at(open->get(), std::span(bytes).first(4096), 0));
  ASSERT_DONE(upgrade(installed()));
  ASSERT_DONE(read_exactly_at(open->get(), bytes, 0));
  EXPECT_EQ(bytes, disk.content);
  ASSERT_DONE(site->wait_until_complete(image, 1));
  expect_landed_equal(image, 1);
  const auto served = status().at("view").at("served_files");
  ASSERT_EQ(served.size(), 1u) << "the descriptor that was opened while it arrived";
  EXPECT_EQ(served.at(0).at("path"), "disk.raw");
  EXPECT_EQ(served.at(0).at("handles"), 1);
  EXPECT_EQ(served.at(0).at("whole"), true);
}

TEST_F(UpgradeTest, AProgramThatDoesNotComeUpIsTakenBack) {
  complete_version(1);
  const std::vector<Known> files = small_files(1);
  Readers readers;
  add_opening_reader(readers, files);
  const std::string own = status().at("version");
  const auto broken = installed().parent_path() / "icbd-cache-broken";
  std::filesystem::copy("/bin/false", broken);
  const auto failed = upgrade(broken);
  ASSERT_FALSE(failed);
  EXPECT_NE(
      failed.error().message().find("ended with 1: icbd: the upgrade failed: it ended with code 1"),
      std::string::npos)
      << failed.error().message();
  EXPECT_EQ(status().at("version"), own);
  EXPECT_NE(site->cache().error_output().find(
                "the new program did not come up: it ended with code 1; the one before goes on"),
            std::string::npos);
  expect_no_errors(readers);
}

TEST_F(UpgradeTest, TheNextWorkerGoesOnAlsoWhileTheConfigurationHasAnError) {
  ASSERT_DONE(write_file(configuration(), as_bytes("[repository\npath = ")));
  ASSERT_DONE(upgrade(installed().string()));
  EXPECT_EQ(status().at("worker").at("last_end"), "it handed over");
}

TEST_F(UpgradeTest, WhatCannotBeExecutedIsRefusedAtOnce) {
  const auto unfit = installed().parent_path() / "icbd-cache-unfit";
  std::ofstream(unfit) << "no program";
  const auto missing = installed().parent_path() / "icbd-cache-missing";
  for (const std::string& program : {missing.string(), std::string("icbd-cache"), unfit.string()})
    EXPECT_FALSE(upgrade(program)) << program;
  EXPECT_EQ(status().at("worker").at("starts"), 1);
}

// It would run as root, for whoever reaches the port.
TEST_F(UpgradeTest, WhatDoesNotLieBesideTheCacheIsNotExecuted) {
  const auto folder = installed().parent_path();
  const auto trace = site->folder() / "was-executed";
  const auto make_program = [&](const std::filesystem::path& path) {
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << fmt::format("#!/bin/sh\ntouch {}\n", trace.string());
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  };
  // "HOME/link/../bin" reads as HOME/bin, and is ELSEWHERE/bin.
  const auto home = site->folder(), elsewhere = site->folder() / "elsewhere";
  std::filesystem::create_directories(elsewhere / "home");
  std::filesystem::create_directory_symlink(elsewhere / "home", home / "link");
  make_program(elsewhere / "icbd-cache");
  make_program(elsewhere / "bin" / "icbd-cache");
  make_program(folder / "another-program");
  make_program(folder / "below" / "icbd-cache");
  for (const auto& program :
       {elsewhere / "icbd-cache", home / "link/../bin/icbd-cache", folder / "another-program",
        folder / "below/icbd-cache", folder / "..", std::filesystem::path("/bin/true"),
        site->view(image, 1) / "icbd-cache"}) {
    const auto refused = upgrade(program);
    ASSERT_FALSE(refused) << program;
    EXPECT_NE(refused.error().message().find(fmt::format(
                  "only a program beside the cache's own is executed: put it there, as {}-NEXT",
                  installed().string())),
              std::string::npos)
        << refused.error().message();
  }
  EXPECT_FALSE(std::filesystem::exists(trace));
  EXPECT_EQ(status().at("worker").at("starts"), 1);
  EXPECT_EQ(status().at("worker").at("upgrade_failures"), 0);
}

TEST_F(UpgradeTest, WithoutAHolderThereIsNothingToReplace) {
  ASSERT_DONE(site->stop_cache());
  site->set_cache_settings({"view.holder=false"});
  ASSERT_DONE(site->start_cache());
  EXPECT_EQ(worker(), 0) << "one process";
  const auto refused = upgrade("");
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message().find("this cache runs without a holder"), std::string::npos);
  // Asked for by a signal, it stays as it is.
  ASSERT_DONE(site->cache().signal(SIGUSR2));
  ASSERT_DONE(Site::wait_until(
      [&] {
        return site->cache().error_output().find("there is nobody to hand over to") !=
               std::string::npos;
      },
      "the refusal"));
  EXPECT_EQ(status().at("view").at("visible"), true);
}

}  // namespace
}  // namespace icbd::system_test
