#include "device.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <pthread.h>
#include <sys/mount.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <string>
#include <thread>

#include "icbd/base/unique_fd.h"

namespace icbd::fs {
namespace {

ssize_t device_writev(int fd, iovec* vectors, int count, void*) {
  return ::writev(fd, vectors, count);
}

// Threads are cancelled while they wait here: nothing in this frame may need a destructor.
ssize_t device_read(int fd, void* buffer, size_t size, void*) {
  return ::read(fd, buffer, size);
}

// Wakes the waiting thread of fuse_session_loop_mt() from sem_wait; does nothing else.
void install_wake_handler() {
  struct sigaction action{};
  action.sa_handler = [](int) {};  // without SA_RESTART: the system call must end
  sigaction(SIGUSR1, &action, nullptr);
}

}  // namespace

Result<std::unique_ptr<Device>> Device::open_and_mount(const std::filesystem::path& mountpoint,
                                                       const std::string& source,
                                                       const fuse_lowlevel_ops& operations,
                                                       void* user_data) {
  unique_fd device_fd(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
  if (!device_fd) return fail_errno("open /dev/fuse (is the fuse module loaded?)");

  auto device = std::unique_ptr<Device>(new Device);
  device->mountpoint_ = mountpoint;
  std::string program = "icbd";
  std::array<char*, 2> arguments{program.data(), nullptr};
  fuse_args args = FUSE_ARGS_INIT(1, arguments.data());
  device->session_ = fuse_session_new(&args, &operations, sizeof operations, user_data);
  if (device->session_ == nullptr)
    return fail(ErrorCode::internal, "libfuse refused to make a session");

  const std::string options = fmt::format(
      "fd={},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions", device_fd.get());
  if (::mount(source.c_str(), mountpoint.c_str(), "fuse.icbd", MS_RDONLY | MS_NOSUID | MS_NODEV,
              options.c_str()) != 0)
    return fail_errno(fmt::format("mount the view at {}", mountpoint.string()));
  device->mounted_ = true;

  fuse_custom_io io{};
  io.writev = device_writev;
  io.read = device_read;
  // From here the session owns the descriptor and closes it.
  if (const int result = fuse_session_custom_io(device->session_, &io, device_fd.release());
      result != 0)
    return fail_errno("hand /dev/fuse to libfuse", -result);
  return device;
}

Device::~Device() {
  detach();
  stop();
  if (session_ != nullptr) fuse_session_destroy(session_);
}

void Device::run(unsigned threads) {
  install_wake_handler();
  runner_ = pthread_self();
  running_ = true;
  fuse_loop_config* config = fuse_loop_cfg_create();
  fuse_loop_cfg_set_clone_fd(config, 0);  // a closed clone would abort the requests it had taken
  fuse_loop_cfg_set_max_threads(config, threads);
  fuse_loop_cfg_set_idle_threads(config, threads);
  fuse_session_loop_mt(session_, config);
  fuse_loop_cfg_destroy(config);
  running_ = false;
  running_.notify_all();
}

void Device::detach() {
  // MNT_DETACH: readers that have files open must not keep a clean stop from happening.
  if (std::exchange(mounted_, false)) ::umount2(mountpoint_.c_str(), MNT_DETACH);
}

void Device::stop() {
  if (session_ == nullptr) return;
  fuse_session_exit(session_);
  // The loop looks at the exit flag only when its sem_wait is interrupted, and a signal that comes
  // just before the wait is lost: so it is sent again until the loop has ended.
  while (running_) {
    pthread_kill(runner_, SIGUSR1);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

}  // namespace icbd::fs
