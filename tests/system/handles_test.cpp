// File handles, as NFS servers keep them: what a handle was made of is found again by it, whatever
// the kernel and the cache have forgotten meanwhile.

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <vector>

#include "icbd/base/file.h"

#include "system/site.h"
#include "system/worker_kills.h"

namespace icbd::system_test {
namespace {

const std::string image = "image";
constexpr std::size_t disk_size = 24 * 1024 * 1024;
// So that an arrival lasts until the test lets it go on.
constexpr std::uint64_t crawl = 1024 * 1024;

std::string errno_text() {
  return strerrordesc_np(errno);
}

// name_to_handle_at(2), with room for the longest.
class Handle {
 public:
  static Handle of(const std::filesystem::path& path) {
    Handle handle;
    int mount_id = 0;
    EXPECT_EQ(::name_to_handle_at(AT_FDCWD, path.c_str(), handle.get(), &mount_id, 0), 0)
        << path << ": " << errno_text();
    return handle;
  }
  unique_fd open(const std::filesystem::path& mountpoint) const {
    const unique_fd mount(::open(mountpoint.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    return unique_fd(
        ::open_by_handle_at(mount.get(), const_cast<Handle*>(this)->get(), O_RDONLY | O_CLOEXEC));
  }

 private:
  Handle() { get()->handle_bytes = MAX_HANDLE_SZ; }
  ::file_handle* get() { return reinterpret_cast<::file_handle*>(room_.data()); }

  alignas(::file_handle) std::array<std::byte, sizeof(::file_handle) + MAX_HANDLE_SZ> room_{};
};

// Something in the view, its handle, and what must be found by it.
struct Held {
  std::filesystem::path path;
  Handle handle;
  std::string name_inside;  // a directory has this
  Bytes content;            // a file has this
};

class HandlesTest : public SiteTest {
 protected:
  void SetUp() override {
    SiteTest::SetUp();
    if (!site) return;
    change(fmt::format("head -c {} /dev/urandom > disk.raw; mkdir folder; echo small > folder/file",
                       disk_size));
    ASSERT_DONE(site->use_proxy());
    ASSERT_DONE(site->publish(image));
    site->proxy().set_rate(crawl);
    ASSERT_DONE(site->start_cache());
    ASSERT_DONE(site->wait_until_listed(image, 1));
  }

  void hold_directory(const std::filesystem::path& path, const std::string& name_inside) {
    held_.push_back({path, Handle::of(path), name_inside, {}});
  }
  void hold_file(const std::string& name) {
    const auto path = site->view(image, 1) / name;
    held_.push_back({path, Handle::of(path), "",
                     read_file(site->master_version(image, 1) / name, disk_size).value()});
  }
  void hold_everything() {
    hold_directory(site->mountpoint(), image);
    hold_directory(site->mountpoint() / image, "1");
    hold_directory(site->view(image, 1), "disk.raw");
    hold_directory(site->view(image, 1) / "folder", "file");
    hold_file("folder/file");
    hold_file("disk.raw");
  }

  // Attributes and the first bytes, so that an arrival is not waited for.
  void expect_found(const Held& held, std::size_t length) {
    const unique_fd fd = held.handle.open(site->mountpoint());
    ASSERT_TRUE(fd) << held.path << ": " << errno_text();
    struct stat by_handle{}, by_name{};
    ASSERT_EQ(::fstat(fd.get(), &by_handle), 0) << held.path << ": " << errno_text();
    ASSERT_EQ(::stat(held.path.c_str(), &by_name), 0) << held.path << ": " << errno_text();
    EXPECT_EQ(by_handle.st_ino, by_name.st_ino) << held.path;
    EXPECT_EQ(by_handle.st_size, by_name.st_size) << held.path;
    if (!held.name_inside.empty()) {
      EXPECT_EQ(::faccessat(fd.get(), held.name_inside.c_str(), R_OK, 0), 0)
          << held.path << ": " << errno_text();
      return;
    }
    Bytes bytes(std::min(length, held.content.size()));
    ASSERT_EQ(::pread(fd.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()))
        << held.path << ": " << errno_text();
    EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), held.content.begin())) << held.path;
  }
  void expect_all_found(const std::string& when, std::size_t length) {
    SCOPED_TRACE(when);
    for (const Held& held : held_) expect_found(held, length);
  }
  // At once, after the kernel has forgotten, and after the worker has died: each and both.
  void expect_all_found_whatever_is_forgotten(const std::string& when, std::size_t length) {
    expect_all_found(when, length);
    make_the_kernel_forget();
    expect_all_found(when + ", and the kernel has forgotten", length);
    ASSERT_DONE(kill_worker(site->cache().id()));
    expect_all_found(when + ", and the worker was killed", length);
    ASSERT_DONE(kill_worker(site->cache().id()));
    make_the_kernel_forget();
    expect_all_found(when + ", and both", length);
  }

  std::vector<Held> held_;
};

constexpr std::size_t beginning = 4096;

TEST_F(HandlesTest, HandlesTakenWhileAVersionArrivesOpenForEver) {
  hold_everything();
  expect_all_found_whatever_is_forgotten("while it arrives", beginning);
  EXPECT_EQ(site->state(image, 1), "arriving");
  ASSERT_DONE(site->stop_cache());
  ASSERT_DONE(site->start_cache());
  expect_all_found_whatever_is_forgotten("in a new mount, while it arrives", beginning);
  EXPECT_EQ(site->state(image, 1), "arriving");

  site->proxy().set_rate(0);
  ASSERT_DONE(site->wait_until_complete(image, 1));
  expect_all_found_whatever_is_forgotten("after it has landed", disk_size);
  ASSERT_DONE(site->stop_cache());
  ASSERT_DONE(site->start_cache());
  expect_all_found_whatever_is_forgotten("in a new mount, after it has landed", disk_size);
}

TEST_F(HandlesTest, AHandleOfAVersionThatNobodyHasLookedIntoOpens) {
  hold_directory(site->view(image, 1), "disk.raw");
  make_the_kernel_forget();
  expect_all_found("before its names are here", beginning);
  ASSERT_DONE(site->stop_cache());
  ASSERT_DONE(site->start_cache());
  expect_all_found_whatever_is_forgotten("in a new mount", beginning);
}

// A file that is opened by an old handle after it has landed is as fast as any.
TEST_F(HandlesTest, AFileOpenedByAHandleOfItsArrivalIsReadByTheKernelOnceItHasLanded) {
  const auto path = site->view(image, 1) / "disk.raw";
  const Handle handle = Handle::of(path);
  unique_fd arriving = handle.open(site->mountpoint());
  ASSERT_TRUE(arriving) << errno_text();
  site->proxy().set_rate(0);
  std::byte first{};
  ASSERT_EQ(::pread(arriving.get(), &first, 1, 0), 1) << errno_text();
  ASSERT_DONE(site->wait_until_complete(image, 1));
  const auto served = [&] {
    return site->ask_cache("/api/status").value().at("view").at("served_files");
  };
  ASSERT_EQ(served().size(), 1u);
  EXPECT_EQ(served()[0].at("whole"), true) << served().dump();

  arriving.reset();
  ASSERT_DONE(Site::wait_until([&] { return served().empty(); }, "the file to be closed"));
  const unique_fd landed = handle.open(site->mountpoint());
  ASSERT_TRUE(landed) << errno_text();
  EXPECT_EQ(served().dump(), "[]");
}

// It says so, instead of giving what has the inode's number now.
TEST_F(HandlesTest, AHandleOfAVersionThatWasDroppedIsStale) {
  site->proxy().set_rate(0);
  const Handle handle = Handle::of(site->view(image, 1) / "folder/file");
  const auto arrive = [&] {
    ASSERT_DONE(harness::run_checked({"cat", (site->view(image, 1) / "folder/file").string()}));
    ASSERT_DONE(site->wait_until_complete(image, 1));
  };
  arrive();
  EXPECT_TRUE(handle.open(site->mountpoint())) << errno_text();
  // Until nobody holds it: the kernel says later that a file was closed.
  ASSERT_DONE(Site::wait_until(
      [&] {
        return site->cache_client()
            .remove(fmt::format("/api/images/{}/versions/1", image))
            .has_value();
      },
      "the version to be dropped"));
  EXPECT_FALSE(handle.open(site->mountpoint()));
  EXPECT_EQ(errno, ESTALE);
  arrive();
  EXPECT_FALSE(handle.open(site->mountpoint()));
  EXPECT_EQ(errno, ESTALE);
}

}  // namespace
}  // namespace icbd::system_test
