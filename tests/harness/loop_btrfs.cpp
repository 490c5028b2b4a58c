#include "harness/loop_btrfs.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <thread>

#include "icbd/base/file.h"

#include "harness/run.h"

namespace icbd::harness {
namespace {

// Other tests take loop devices at the same time; each round can be lost to one of them.
constexpr int loop_attempts = 100;
// A kernel thread may hold a mount for a moment after its last file was closed.
constexpr int unmount_attempts = 20;
constexpr std::chrono::milliseconds unmount_pause{50};

struct LoopDevice {
  unique_fd fd;  // keeps it until it is mounted
  std::string path;
};

// Attaches the image to a free loop device that frees itself with its last user.
Result<LoopDevice> attach(const std::filesystem::path& image) {
  ICBD_ASSIGN(const unique_fd file, open_file(image, O_RDWR));
  ICBD_ASSIGN(const unique_fd control, open_file("/dev/loop-control", O_RDWR));
  for (int attempt = 0; attempt < loop_attempts; ++attempt) {
    const int number = ioctl(control.get(), LOOP_CTL_GET_FREE);
    if (number < 0) return fail_errno("find a free loop device");
    LoopDevice device{.fd = {}, .path = fmt::format("/dev/loop{}", number)};
    auto opened = open_file(device.path, O_RDWR);
    if (!opened) return std::unexpected(opened.error());
    device.fd = std::move(*opened);
    loop_config config{};
    config.fd = static_cast<__u32>(file.get());
    config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
    if (ioctl(device.fd.get(), LOOP_CONFIGURE, &config) == 0) return device;
    if (errno != EBUSY && errno != EAGAIN)
      return fail_errno(fmt::format("configure {}", device.path));
  }
  return fail(ErrorCode::busy, "no loop device was free");
}

}  // namespace

bool is_root() {
  return geteuid() == 0;
}

LoopBtrfs::LoopBtrfs(TemporaryDirectory folder, LoopBtrfsOptions options)
    : folder_(std::move(folder)),
      options_(std::move(options)),
      image_(folder_.path() / "btrfs.img"),
      mountpoint_(folder_.path() / "mount") {}

Result<std::unique_ptr<LoopBtrfs>> LoopBtrfs::create(LoopBtrfsOptions options) {
  ICBD_ASSIGN(auto folder, TemporaryDirectory::create());
  std::unique_ptr<LoopBtrfs> filesystem(new LoopBtrfs(std::move(folder), std::move(options)));
  ICBD_TRY(filesystem->make());
  ICBD_TRY(filesystem->mount());
  return filesystem;
}

Result<std::unique_ptr<LoopBtrfs>> LoopBtrfs::open(std::filesystem::path image,
                                                   LoopBtrfsOptions options) {
  ICBD_ASSIGN(auto folder, TemporaryDirectory::create());
  std::unique_ptr<LoopBtrfs> filesystem(new LoopBtrfs(std::move(folder), std::move(options)));
  filesystem->image_ = std::move(image);
  if (mkdir(filesystem->mountpoint_.c_str(), 0755) != 0)
    return fail_errno(fmt::format("make {}", filesystem->mountpoint_.string()));
  ICBD_TRY(filesystem->mount());
  return filesystem;
}

LoopBtrfs::~LoopBtrfs() {
  unmount();
}

Status LoopBtrfs::make() {
  {
    ICBD_ASSIGN(const unique_fd file, open_file(image_, O_RDWR | O_CREAT | O_EXCL, 0600));
    if (ftruncate(file.get(), static_cast<off_t>(options_.size_bytes)) != 0)
      return fail_errno(fmt::format("make {} {} bytes long", image_.string(), options_.size_bytes));
  }
  std::vector<std::string> command{"mkfs.btrfs", "--quiet"};
  command.insert(command.end(), options_.mkfs_options.begin(), options_.mkfs_options.end());
  command.push_back(image_.string());
  ICBD_TRY(run_checked(command));
  if (mkdir(mountpoint_.c_str(), 0755) != 0)
    return fail_errno(fmt::format("make {}", mountpoint_.string()));
  return {};
}

Status LoopBtrfs::mount() {
  ICBD_ASSIGN(const LoopDevice device, attach(image_));
  const char* data = options_.mount_options.c_str();
  if (::mount(device.path.c_str(), mountpoint_.c_str(), "btrfs", MS_NOATIME, data) != 0)
    return fail_errno(fmt::format("mount {} at {}", device.path, mountpoint_.string()));
  mounted_ = true;
  return {};
}

Status LoopBtrfs::close() {
  for (int attempt = 0; umount2(mountpoint_.c_str(), 0) != 0; ++attempt) {
    if (errno != EBUSY || attempt >= unmount_attempts)
      return fail_errno(fmt::format("unmount {}", mountpoint_.string()));
    std::this_thread::sleep_for(unmount_pause);
  }
  mounted_ = false;
  return {};
}

Status LoopBtrfs::remount() {
  ICBD_TRY(close());
  return mount();
}

void LoopBtrfs::unmount() noexcept {
  for (int attempt = 0; mounted_ && attempt < unmount_attempts; ++attempt) {
    if (umount2(mountpoint_.c_str(), 0) == 0)
      mounted_ = false;
    else if (errno != EBUSY)
      break;
    else
      std::this_thread::sleep_for(unmount_pause);
  }
  if (!mounted_) return;
  std::fprintf(stderr, "%s is still in use: detaching it\n", mountpoint_.c_str());
  umount2(mountpoint_.c_str(), MNT_DETACH);
  mounted_ = false;
}

void BtrfsTest::SetUp() {
  ICBD_SKIP_UNLESS_ROOT();
  auto created = LoopBtrfs::create(btrfs_options());
  ASSERT_TRUE(created) << created.error().message();
  btrfs_ = std::move(*created);
}

}  // namespace icbd::harness
