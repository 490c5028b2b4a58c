// What the mountpoint shows, and that waiting readers are in nobody's way.

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <array>
#include <thread>
#include <vector>

#include "icbd/base/file.h"

#include "system/site.h"

namespace icbd::system_test {
namespace {

class ViewTest : public SiteTest {
 protected:
  static std::string xattr(const std::filesystem::path& path, const char* name) {
    std::array<char, 256> value{};
    const ssize_t size = ::getxattr(path.c_str(), name, value.data(), value.size());
    return size < 0 ? "none" : std::string(value.data(), static_cast<std::size_t>(size));
  }
};

TEST_F(ViewTest, ShowsImagesVersionsLatestAndStatesWithoutFetching) {
  change("echo one > file");
  ASSERT_DONE(site->publish("debian"));
  ASSERT_DONE(site->publish("debian"));
  ASSERT_DONE(site->publish("windows"));
  ASSERT_DONE(site->start_cache());
  const auto names = harness::run_checked({"ls", "-1", site->mountpoint().string()});
  ASSERT_DONE(names);
  EXPECT_EQ(*names, "debian\nwindows\n");
  const auto versions =
      harness::run_checked({"ls", "-1", (site->mountpoint() / "debian").string()});
  ASSERT_DONE(versions);
  EXPECT_EQ(*versions, "1\n2\ncurrent\nlatest\n");
  EXPECT_EQ(std::filesystem::read_symlink(site->mountpoint() / "debian/latest"), "2");
  ASSERT_DONE(harness::run_checked({"ls", "-lR", "--ignore=[0-9]*", site->mountpoint().string()}));
  ASSERT_DONE(harness::run_checked({"ls", "-la", (site->mountpoint() / "debian").string()}));
  EXPECT_EQ(xattr(site->view("debian", 1), "user.icbd.state"), "remote");
  EXPECT_EQ(site->state("debian", 1), "remote");
  EXPECT_EQ(site->state("windows", 1), "remote");
}

TEST_F(ViewTest, StateIsVisibleOnEveryFileAndHiddenFromListings) {
  change("head -c 1M /dev/urandom > file");
  ASSERT_DONE(site->publish("image"));
  ASSERT_DONE(site->start_cache());
  const auto file = site->view("image", 1) / "file";
  EXPECT_EQ(xattr(file, "user.icbd.state"), "arriving");
  EXPECT_EQ(::listxattr(file.c_str(), nullptr, 0), 0);
  expect_equal_through_view("image", 1);
  ASSERT_DONE(site->wait_until_complete("image", 1));
  EXPECT_EQ(xattr(file, "user.icbd.state"), "complete");
  EXPECT_EQ(xattr(file, "user.icbd.version"), "1");
}

TEST_F(ViewTest, ANewVersionAppearsWithoutRemounting) {
  change("echo one > file");
  ASSERT_DONE(site->publish("image"));
  ASSERT_DONE(site->start_cache());
  EXPECT_FALSE(std::filesystem::exists(site->view("image", 2)));
  change("echo two > file");
  ASSERT_DONE(site->publish("image"));
  ASSERT_DONE(site->wait_until_listed("image", 2));
  ASSERT_DONE(Site::wait_until(
      [&] { return std::filesystem::read_symlink(site->mountpoint() / "image/latest") == "2"; },
      "latest to be 2"));
}

TEST_F(ViewTest, IsReadOnlyAndOneFileHasOneInodeNumber) {
  change("head -c 1M /dev/urandom > file; ln file other");
  ASSERT_DONE(site->publish("image"));
  ASSERT_DONE(site->start_cache());
  const auto file = site->view("image", 1) / "file";
  EXPECT_EQ(::open(file.c_str(), O_WRONLY), -1);
  EXPECT_EQ(errno, EROFS);
  struct stat arriving{}, complete{}, other{};
  ASSERT_EQ(::stat(file.c_str(), &arriving), 0);
  expect_equal_through_view("image", 1);
  ASSERT_DONE(site->wait_until_complete("image", 1));
  ASSERT_DONE(Site::wait_until([&] { return xattr(file, "user.icbd.state") == "complete"; },
                               "the kernel to look again"));
  ASSERT_EQ(::stat(file.c_str(), &complete), 0);
  ASSERT_EQ(::stat((site->view("image", 1) / "other").c_str(), &other), 0);
  EXPECT_EQ(arriving.st_ino, complete.st_ino);
  EXPECT_EQ(complete.st_ino, other.st_ino);
  EXPECT_EQ(complete.st_nlink, 2u);
  // The other version's file is another file.
  ASSERT_DONE(site->publish("image"));
  ASSERT_DONE(site->wait_until_listed("image", 2));
  ASSERT_EQ(::stat((site->view("image", 2) / "file").c_str(), &other), 0);
  EXPECT_NE(complete.st_ino, other.st_ino);
}

// The master is stopped (not ended), so that connections stand and nothing comes. Nothing is
// fetched in the background: what bulk had brought before that would keep no reader waiting.
TEST_F(ViewTest, ParkedReadersHoldNoThreadAndCanBeInterrupted) {
  change("head -c 100M /dev/urandom > parked; head -c 1M /dev/urandom > ready");
  ASSERT_DONE(site->publish("first"));
  ASSERT_DONE(site->publish("second"));
  ASSERT_DONE(site->start_cache("timeout = 300\noffline_after = 300\nfill = \"demand-only\"\n"));
  expect_equal_through_view("first", 1);
  ASSERT_DONE(site->wait_until_complete("first", 1));
  // Looked into, so that its shape is here; not read.
  ASSERT_DONE(harness::run_checked({"ls", "-l", site->view("second", 1).string()}));
  ASSERT_DONE(site->master().signal(SIGSTOP));

  std::vector<std::unique_ptr<harness::Process>> readers;
  for (int i = 0; i < 100; ++i) {
    auto reader = harness::Process::start(
        {"dd", "if=" + (site->view("second", 1) / "parked").string(), "of=/dev/null", "bs=128K",
         "skip=" + std::to_string(i * 8), "count=1", "status=none"},
        {site->folder(), "reader"});
    ASSERT_DONE(reader);
    readers.push_back(std::move(*reader));
  }
  ASSERT_DONE(Site::wait_until(
      [&] {
        const auto version = site->ask_cache("/api/images/second/versions/1");
        return version && version->contains("progress") &&
               version->at("progress").at("waiting_readers").get<int>() >= 100;
      },
      "a hundred parked readers"));
  // What is here reads as ever.
  expect_equal_through_view("first", 1);
  // A parked reader can be killed.
  ASSERT_DONE(readers[0]->signal(SIGKILL));
  ASSERT_DONE(readers[0]->wait_for_exit(std::chrono::seconds(10)));
  ASSERT_DONE(site->master().signal(SIGCONT));
  for (std::size_t i = 1; i < readers.size(); ++i) {
    const auto code = readers[i]->wait_for_exit(std::chrono::seconds(60));
    ASSERT_DONE(code);
    EXPECT_EQ(*code, 0);
  }
}

// As a cache server needs them for its clients' homes and writable layers.
TEST_F(ViewTest, DirectoriesOfTheSiteStandBesideTheImages) {
  const auto shared = site->folder() / "shared";
  std::filesystem::create_directory(shared);
  ASSERT_DONE(harness::shell_checked("echo hello > '" + (shared / "file").string() + "'"));
  site->set_view_directories("\"rw\", \"iso=" + shared.string() + "\", \"second\"");
  change("echo one > file");
  ASSERT_DONE(site->publish("first"));
  ASSERT_DONE(site->publish("second"));
  ASSERT_DONE(site->start_cache());
  EXPECT_EQ(*harness::run_checked({"ls", "-1", site->mountpoint().string()}),
            "first\niso\nrw\nsecond\n");
  EXPECT_TRUE(std::filesystem::is_empty(site->mountpoint() / "rw"));
  EXPECT_TRUE(std::filesystem::is_empty(site->mountpoint() / "second")) << "not the image";
  EXPECT_EQ(site->ask_cache("/api/status")->at("view")["hidden_images"],
            nlohmann::json({"second"}));
  // What is mounted on one is read and written as where it comes from.
  EXPECT_EQ(*harness::run_checked({"cat", (site->mountpoint() / "iso/file").string()}), "hello\n");
  ASSERT_DONE(
      harness::shell_checked("echo new > '" + (site->mountpoint() / "iso/new").string() + "'"));
  EXPECT_TRUE(std::filesystem::exists(shared / "new"));
}

TEST_F(ViewTest, NestedMountsSurviveWhatHappensToTheView) {
  site->set_view_directories("\"rw\"");
  change("echo one > file");
  ASSERT_DONE(site->publish("image"));
  ASSERT_DONE(site->start_cache());
  const std::string nested = (site->mountpoint() / "rw").string();
  ASSERT_DONE(harness::run_checked({"mount", "-t", "tmpfs", "none", nested}));
  ASSERT_DONE(harness::shell_checked("echo kept > '" + nested + "/file'"));
  for (int i = 0; i < 3; ++i) {
    change("head -c 100K /dev/urandom > file");
    ASSERT_DONE(site->publish("image"));
    ASSERT_DONE(site->wait_until_listed("image", i + 2));
    expect_equal_through_view("image", i + 2);
    ASSERT_DONE(harness::shell_checked("echo 2 > /proc/sys/vm/drop_caches; ls -lR '" +
                                       site->mountpoint().string() + "' > /dev/null"));
    EXPECT_EQ(*harness::run_checked({"cat", nested + "/file"}), "kept\n");
  }
  // They do not keep a cache from ending.
  ASSERT_DONE(site->stop_cache());
}

}  // namespace
}  // namespace icbd::system_test
