// A cache that follows a machine without icbd: what that machine has is in the mount when all of it
// is here, and stays right.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/mount.h>

#include <fstream>
#include <thread>

#include "icbd/rest/http.h"

#include "harness/ssh_server.h"
#include "system/site.h"

namespace icbd::system_test {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr auto deadline = 60s;
const std::string programs = ICBD_PROGRAMS;

class PullTest : public testing::Test {
 protected:
  void SetUp() override {
    ICBD_SKIP_UNLESS_ROOT();
    auto folder = harness::TemporaryDirectory::create();
    auto there = harness::LoopBtrfs::create();
    auto here = harness::LoopBtrfs::create();
    auto server = harness::SshServer::create();
    ASSERT_TRUE(folder && there && here && server);
    folder_.emplace(std::move(*folder));
    there_ = std::move(*there);
    here_ = std::move(*here);
    server_ = std::move(*server);
    std::filesystem::create_directories(view());
    std::filesystem::create_directories(here_->path() / "repository");
    on_the_machine("mkdir -p snapshots/win11; btrfs -q subvolume create live");
    write_configuration();
  }
  void TearDown() override {
    if (cache_ && HasFailure()) std::puts(cache_->error_output().c_str());
    cache_.reset();
    if (folder_) ::umount2(view().c_str(), MNT_DETACH);
  }

  std::filesystem::path view() const { return folder_->path() / "view"; }
  std::filesystem::path snapshots() const { return there_->path() / "snapshots" / "win11"; }
  void on_the_machine(const std::string& script) const {
    const auto done =
        harness::shell_checked(fmt::format("cd {}\n{}", there_->path().string(), script));
    ASSERT_TRUE(done) << done.error().message();
  }
  void snapshot(const std::string& name, const std::string& change) const {
    on_the_machine(change + "\nbtrfs -q subvolume snapshot -r live snapshots/win11/" + name);
  }
  void write_configuration() const {
    std::ofstream(folder_->path() / "cache.toml") << fmt::format(
        "[repository]\npath = \"{}\"\n[rest]\nlisten = \"127.0.0.1:0\"\n[view]\nmountpoint = "
        "\"{}\"\n[source]\nurl = \"ssh://root@127.0.0.1:{}{}\"\nkey = \"{}\"\nknown_hosts = "
        "\"{}\"\npoll_interval = 0.1\n",
        (here_->path() / "repository").string(), view().string(), server_->port(),
        (there_->path() / "snapshots").string(), server_->key().string(),
        server_->known_hosts().string());
  }
  void start() {
    auto started = harness::Process::start(
        {programs + "/icbd-cache", "--config", folder_->path() / "cache.toml"},
        {folder_->path(), "cache"});
    ASSERT_DONE(started);
    cache_ = std::move(*started);
    const auto ready = cache_->wait_for_line("icbd-cache ready", deadline);
    ASSERT_DONE(ready);
    const auto begin = ready->find("rest=") + 5;
    server_url_ = "http://" + ready->substr(begin, ready->find(' ', begin) - begin);
  }
  std::string icbd(std::vector<std::string> words) const {
    words.insert(words.begin(), {programs + "/icbd", "--server", server_url_});
    const auto done = harness::run(words);
    return done ? done->output : done.error().message();
  }
  json status() const {
    const auto answer = rest::HttpClient::make(server_url_).value().get("/api/status");
    return answer ? *answer : json();
  }
  std::string state(int number) const {
    const auto version = rest::HttpClient::make(server_url_)
                             .value()
                             .get(fmt::format("/api/images/win11/versions/{}", number));
    return version ? version->at("state").get<std::string>() : "unknown";
  }
  void wait_until_complete(int number) {
    const Status done = Site::wait_until([&] { return state(number) == "complete"; },
                                         fmt::format("win11@{}", number));
    ASSERT_TRUE(done) << done.error().message() << "; " << status().dump();
  }
  void expect_equal_in_view(int number, const std::string& snapshot) const {
    EXPECT_EQ(
        harness::diff_trees(snapshots() / snapshot, view() / "win11" / std::to_string(number)), "");
  }

  std::optional<harness::TemporaryDirectory> folder_;
  std::unique_ptr<harness::LoopBtrfs> there_, here_;
  std::unique_ptr<harness::SshServer> server_;
  std::unique_ptr<harness::Process> cache_;
  std::string server_url_;
};

TEST_F(PullTest, WhatIsSubscribedIsInTheViewAsItIsThereAndTheNextOneComesIncrementally) {
  snapshot("monday",
           "head -c 8000000 /dev/urandom >live/disk.raw; ln live/disk.raw live/link\n"
           "mkdir live/boot; echo kernel >live/boot/vmlinuz; chmod 4755 live/boot/vmlinuz");
  start();
  EXPECT_THAT(icbd({"subscribe", "win11"}), HasSubstr("subscribed to win11"));
  wait_until_complete(1);
  expect_equal_in_view(1, "monday");
  const std::uint64_t first = status()["source"]["bytes_received"];
  EXPECT_GT(first, 8'000'000u);

  snapshot("tuesday",
           "mv live/boot live/start; printf changed | dd of=live/disk.raw bs=1 "
           "seek=4000000 conv=notrunc status=none");
  wait_until_complete(2);
  expect_equal_in_view(2, "tuesday");
  EXPECT_LT(status()["source"]["bytes_received"].get<std::uint64_t>() - first, 100'000u);
  EXPECT_EQ(std::filesystem::read_symlink(view() / "win11" / "latest"), "2");

  EXPECT_THAT(icbd({"verify", "win11@2"}), HasSubstr("0 problems"));
  EXPECT_THAT(
      icbd({"status"}),
      AllOf(HasSubstr("source      ssh://root@127.0.0.1:"), HasSubstr(", reachable, last seen "),
            HasSubstr("trusted     the host key of ssh: what comes is not compared")));
  EXPECT_THAT(icbd({"subscriptions"}), AllOf(HasSubstr("complete"), HasSubstr("win11@2")));
  EXPECT_THAT(icbd({"show", "win11@1"}), HasSubstr("monday from root@127.0.0.1:"));
}

TEST_F(PullTest, ARestartGoesOnWithWhatIsHere) {
  snapshot("monday", "head -c 2000000 /dev/urandom >live/disk.raw");
  start();
  icbd({"subscribe", "win11"});
  wait_until_complete(1);
  ASSERT_EQ(cache_->stop(deadline).value(), 0);
  snapshot("tuesday", "echo more >live/file");
  server_->stop();
  start();  // what is here is served, whether the machine answers or not
  expect_equal_in_view(1, "monday");
  ASSERT_DONE(Site::wait_until(
      [&] { return icbd({"subscriptions"}).find("ssh to 127.0.0.1") != std::string::npos; },
      "it is said why nothing comes"));
  ASSERT_DONE(server_->start());
  wait_until_complete(2);
  expect_equal_in_view(2, "tuesday");
}

TEST_F(PullTest, WhatASnapshotIsPulledAgainstIsHeldAndThatIsSaid) {
  snapshot("monday", "echo one >live/file");
  std::ofstream(folder_->path() / "cache.toml", std::ios::app)
      << "[fetch]\nbandwidth_limit = 500000\n";
  start();
  icbd({"subscribe", "win11"});
  wait_until_complete(1);
  EXPECT_THAT(icbd({"holds", "win11@1"}), Not(HasSubstr("is coming")));
  snapshot("tuesday", "head -c 30000000 /dev/urandom >live/disk.raw");
  const std::string why = "a snapshot is coming that shares with it";
  ASSERT_DONE(Site::wait_until(
      [&] { return icbd({"drop", "win11@1"}).find(why) != std::string::npos; }, "the pull"));
  for (const std::vector<std::string>& command : std::vector<std::vector<std::string>>{
           {"holds", "win11@1"}, {"holds"}, {"show", "win11@1"}, {"drop", "--dry-run", "win11@1"}})
    EXPECT_THAT(icbd(command), HasSubstr(why)) << command.front();
}

TEST_F(PullTest, AVersionThatIsNotHereFailsToBeReadAndIsPulledByHand) {
  snapshot("monday", "echo one >live/file");
  start();
  icbd({"subscribe", "win11"});
  wait_until_complete(1);
  snapshot("tuesday", "echo two >live/file");
  wait_until_complete(2);
  EXPECT_THAT(icbd({"drop", "win11@2"}), HasSubstr("is held"));
  ASSERT_DONE(Site::wait_until(
      [&] { return icbd({"drop", "win11@1"}).find("dropped win11@1") != std::string::npos; },
      "the drop"));
  EXPECT_EQ(state(1), "remote");
  const auto read = harness::run({"cat", view() / "win11" / "1" / "file"});
  ASSERT_DONE(read);
  EXPECT_THAT(read->output, HasSubstr("Input/output error"));
  EXPECT_THAT(icbd({"pull", "win11@1"}), HasSubstr("win11@1 is complete"));
  expect_equal_in_view(1, "monday");

  // Dropped again, and deleted there too: nobody has it any more, and who asks for it is told.
  EXPECT_THAT(icbd({"pull", "--cancel", "win11@1"}), HasSubstr("not pulled any longer"));
  ASSERT_DONE(Site::wait_until(
      [&] { return icbd({"drop", "win11@1"}).find("dropped win11@1") != std::string::npos; },
      "the drop"));
  on_the_machine("btrfs -q subvolume delete snapshots/win11/monday");
  icbd({"pull", "win11@1", "--no-wait"});
  const std::string gone = " does not have that snapshot any more";
  ASSERT_DONE(Site::wait_until(
      [&] { return icbd({"show", "win11@1"}).find(gone) != std::string::npos; }, "the reason"));
  EXPECT_THAT(icbd({"wait", "win11@1", "--timeout", "0.1"}), HasSubstr(gone));
}

TEST_F(PullTest, ARepositoryHasOneKindOfSource) {
  auto site = Site::create();
  ASSERT_DONE(site);
  ASSERT_DONE((*site)->start_cache());
  ASSERT_DONE((*site)->stop_cache());
  const auto refused =
      harness::run({programs + "/icbd-cache", "--config", folder_->path() / "cache.toml", "--set",
                    "view.holder=false", "--set",
                    "repository.path=" + ((*site)->cache_root() / "repository").string()});
  ASSERT_DONE(refused);
  EXPECT_NE(refused->exit_code, 0);
  EXPECT_THAT(refused->output, HasSubstr("follows a master"));
}

}  // namespace
}  // namespace icbd::system_test
