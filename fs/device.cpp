#include "device.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <pthread.h>
#include <sys/mount.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <string>
#include <thread>

#include "icbd/base/unique_fd.h"

#include "kernel_interface.h"

namespace icbd::fs {
namespace {

using namespace std::chrono_literals;

// Of the request that a thread was given last; libfuse keeps it to itself.
// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): a thread's own.
thread_local std::uint64_t unique_of_this_thread = 0;

// Wakes the waiting thread of fuse_session_loop_mt() from sem_wait; does nothing else.
void install_wake_handler() {
  struct sigaction action{};
  action.sa_handler = [](int) {};  // without SA_RESTART: the system call must end
  sigaction(SIGUSR1, &action, nullptr);
}

std::size_t total_length(const iovec* vectors, int count) {
  std::size_t total = 0;
  for (int i = 0; i < count; ++i) total += vectors[i].iov_len;
  return total;
}

std::uint64_t capabilities_in(const kernel::InitRequest& init) {
  std::uint64_t flags = init.flags;
  if ((flags & kernel::init_ext) != 0) flags |= std::uint64_t{init.flags2} << 32;
  return flags;
}

std::int64_t steady_now() {
  return std::chrono::steady_clock::now().time_since_epoch().count();
}

}  // namespace

Device::Device(ConnectionMemory& memory, Options options)
    : memory_(memory), options_(std::move(options)) {}

Result<std::unique_ptr<Device>> Device::make(unique_fd device_fd, const Options& options,
                                             ConnectionMemory& memory,
                                             const fuse_lowlevel_ops& operations,
                                             ViewState& state) {
  auto device = std::unique_ptr<Device>(new Device(memory, options));
  device->data_ = {.device = device.get(), .state = &state};
  std::string program = "icbd";
  std::array<char*, 2> arguments{program.data(), nullptr};
  fuse_args args = FUSE_ARGS_INIT(1, arguments.data());
  device->session_ = fuse_session_new(&args, &operations, sizeof operations, &device->data_);
  if (device->session_ == nullptr)
    return fail(ErrorCode::internal, "libfuse refused to make a session");
  fuse_custom_io io{};
  io.writev = writev_hook;
  io.read = read_hook;
  // From here the session owns the descriptor and closes it.
  device->fd_ = device_fd.release();
  if (const int result = fuse_session_custom_io(device->session_, &io, device->fd_); result != 0)
    return fail_errno("hand /dev/fuse to libfuse", -result);
  return device;
}

Result<std::unique_ptr<Device>> Device::mount_new(const Options& options, ConnectionMemory& memory,
                                                  const fuse_lowlevel_ops& operations,
                                                  ViewState& state) {
  unique_fd device_fd(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
  if (!device_fd) return fail_errno("open /dev/fuse (is the fuse module loaded?)");
  const std::string mount_options = fmt::format(
      "fd={},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions", device_fd.get());
  ICBD_ASSIGN(auto device, make(std::move(device_fd), options, memory, operations, state));
  // Read-only also so that no read makes the kernel think that the access time has changed.
  if (::mount(options.source.c_str(), options.mountpoint.c_str(), "fuse.icbd",
              MS_RDONLY | MS_NOSUID | MS_NODEV, mount_options.c_str()) != 0)
    return fail_errno(fmt::format("mount the view at {}", options.mountpoint.string()));
  device->mounted_ = true;
  return device;
}

Result<std::unique_ptr<Device>> Device::take_over(unique_fd device_fd, const Options& options,
                                                  ConnectionMemory& memory,
                                                  const fuse_lowlevel_ops& operations,
                                                  ViewState& state) {
  ICBD_ASSIGN(auto device, make(std::move(device_fd), options, memory, operations, state));
  device->mounted_ = true;
  device->taken_over_ = true;
  return device;
}

Device::~Device() {
  stop();
  if (session_ != nullptr) fuse_session_destroy(session_);
}

// ---- custom I/O ----------------------------------------------------------------------------

std::uint64_t Device::current_unique() {
  return unique_of_this_thread;
}

ssize_t Device::read_hook(int fd, void* buffer, size_t size, void* data) {
  return static_cast<SessionData*>(data)->device->read(fd, buffer, size);
}

ssize_t Device::writev_hook(int fd, iovec* vectors, int count, void* data) {
  return static_cast<SessionData*>(data)->device->writev(fd, vectors, count);
}

// Threads are cancelled while they wait here: nothing in this frame may need a destructor.
ssize_t Device::read(int fd, void* buffer, size_t size) {
  Activity& activity = activity_of_this_thread();
  activity.since.store(0, std::memory_order_relaxed);
  const ssize_t got = read_request(fd, buffer, size);
  if (got < static_cast<ssize_t>(sizeof(kernel::RequestHeader))) return got;
  activity.since.store(steady_now(), std::memory_order_relaxed);
  kernel::RequestHeader header;
  std::memcpy(&header, buffer, sizeof header);
  unique_of_this_thread = header.unique;
  if (header.opcode == kernel::opcode_init) keep_init(buffer, static_cast<std::size_t>(got));
  return got;
}

// With a journal, the kernel writes the request's beginning there, and only what is longer than all
// that are kept goes straight into the buffer.
ssize_t Device::read_request(int fd, void* buffer, size_t size) {
  if (!journaling_) return ::read(fd, buffer, size);
  const auto slot = journal_->reserve();
  if (!slot) return ::read(fd, buffer, size);
  const std::span<std::byte> kept = journal_->bytes(*slot);
  const std::array<iovec, 2> places{iovec{.iov_base = kept.data(), .iov_len = kept.size()},
                                    iovec{.iov_base = static_cast<std::byte*>(buffer) + kept.size(),
                                          .iov_len = size - kept.size()}};
  const ssize_t got = ::readv(fd, places.data(), places.size());
  if (got <= 0) {
    const int cause = errno;
    journal_->give_back(*slot);
    errno = cause;
    return got;
  }
  const auto length = static_cast<std::size_t>(got);
  std::memcpy(buffer, kept.data(), std::min(length, kept.size()));
  journal_->taken(*slot, length);
  return got;
}

void Device::keep_init(const void* buffer, std::size_t length) {
  ConnectionMemory::Header& header = memory_.header();
  if (length > header.init.size()) return;  // libfuse will not know it either
  std::memcpy(header.init.data(), buffer, length);
  header.init_length = static_cast<std::uint32_t>(length);
}

ssize_t Device::writev(int fd, iovec* vectors, int count) {
  const auto length = static_cast<ssize_t>(total_length(vectors, count));
  if (handed_over_.load(std::memory_order_relaxed)) return length;
  const bool agreed = memory_.header().init_answered.load(std::memory_order_acquire) != 0;
  // libfuse's first vector is the header, whole; notifications have no request.
  const std::uint64_t unique = static_cast<const kernel::ReplyHeader*>(vectors[0].iov_base)->unique;
  if (!agreed && unique != 0) return answer_init(fd, vectors, count);
  const ssize_t written = ::writev(fd, vectors, count);
  if (journaling_ && unique != 0) {
    const int cause = errno;
    journal_->answered(unique);  // also if the kernel did not want it any more
    errno = cause;
  }
  return written;
}

// The first reply that leaves is INIT's: nothing else is asked before.
ssize_t Device::answer_init(int fd, const iovec* vectors, int count) {
  const std::size_t length = total_length(vectors, count);
  kernel::InitReply reply;
  if (length > sizeof reply) return ::writev(fd, vectors, count);
  std::size_t at = 0;
  for (int i = 0; i < count; ++i) {
    std::memcpy(reinterpret_cast<std::byte*>(&reply) + at, vectors[i].iov_base, vectors[i].iov_len);
    at += vectors[i].iov_len;
  }
  const std::uint64_t upper = ((options_.wanted.passthrough ? kernel::passthrough : 0) |
                               (options_.wanted.resend ? kernel::has_resend : 0)) &
                              offered();
  if (length == sizeof reply && reply.header.error == 0 && upper != 0) {
    reply.flags |= static_cast<std::uint32_t>(kernel::init_ext);
    reply.flags2 |= static_cast<std::uint32_t>(upper >> 32);
    // The files that the kernel reads lie on a filesystem of their own, not on one of this kind.
    reply.max_stack_depth = 1;
  }
  const ssize_t written = ::write(fd, &reply, length);
  if (written < 0) return written;
  memory_.header().init_answered.store(1, std::memory_order_release);
  return static_cast<ssize_t>(length);
}

// ---- what the kernel can do ----------------------------------------------------------------

std::uint64_t Device::offered() const {
  const ConnectionMemory::Header& header = memory_.header();
  kernel::InitRequest init;
  std::memcpy(&init, header.init.data(), std::min<std::size_t>(header.init_length, sizeof init));
  return capabilities_in(init);
}

Features Device::features() const {
  const std::uint64_t capabilities = offered();
  Features used = options_.wanted;
  used.passthrough = used.passthrough && (capabilities & kernel::passthrough) != 0;
  used.resend = used.resend && (capabilities & kernel::has_resend) != 0;
  return used;
}

bool Device::wait_until_agreed(std::chrono::milliseconds time) const {
  const auto deadline = std::chrono::steady_clock::now() + time;
  while (memory_.header().init_answered == 0) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

// ---- serving -------------------------------------------------------------------------------

// One request, INIT, by this thread alone.
void Device::begin_anew() {
  fuse_buf buffer{};
  int got = 0;
  do {
    got = fuse_session_receive_buf(session_, &buffer);
  } while (got == -EINTR && fuse_session_exited(session_) == 0);
  if (got > 0) fuse_session_process_buf(session_, &buffer);
  std::free(buffer.mem);  // NOLINT(cppcoreguidelines-no-malloc): libfuse made it with malloc()
  // This thread reads no other request, which would say that it has done with this one.
  activity_of_this_thread().since.store(0, std::memory_order_relaxed);
}

void Device::go_on() {
  const ConnectionMemory::Header& header = memory_.header();
  if (header.init_length == 0) return begin_anew();
  // Its reply goes to the kernel only if the process before was killed before it gave one.
  std::array<std::byte, sizeof header.init> init = header.init;
  fuse_buf buffer{};
  buffer.mem = init.data();
  buffer.size = header.init_length;
  const bool agreed = header.init_answered != 0;
  handed_over_ = agreed;  // swallows
  fuse_session_process_buf(session_, &buffer);
  handed_over_ = false;
  if (!agreed || !features().resend) return;
  const kernel::ReplyHeader resend{
      .length = sizeof resend, .error = kernel::notify_resend, .unique = 0};
  static_cast<void>(::write(fd_, &resend, sizeof resend));  // ENOENT: nothing was left
}

// Each as if the kernel had sent it again.
void Device::answer_pending() {
  for (std::vector<std::byte>& request : journal_->pending()) {
    kernel::RequestHeader header;
    std::memcpy(&header, request.data(), sizeof header);
    unique_of_this_thread = header.unique | kernel::unique_resend;
    fuse_buf buffer{};
    buffer.mem = request.data();
    buffer.size = request.size();
    fuse_session_process_buf(session_, &buffer);
  }
}

void Device::run(unsigned threads) {
  install_wake_handler();
  runner_ = pthread_self();
  running_ = true;
  if (taken_over_)
    go_on();
  else
    begin_anew();
  if (!features().resend) {
    journal_ = std::make_unique<RequestJournal>(memory_);
    journaling_ = true;
    answer_pending();
  }
  if (fuse_session_exited(session_) == 0) {
    fuse_loop_config* config = fuse_loop_cfg_create();
    fuse_loop_cfg_set_clone_fd(config, 0);  // a closed clone would abort the requests it had taken
    fuse_loop_cfg_set_max_threads(config, threads);
    fuse_loop_cfg_set_idle_threads(config, threads);
    fuse_session_loop_mt(session_, config);
    fuse_loop_cfg_destroy(config);
  }
  running_ = false;
  running_.notify_all();
}

Device::Activity& Device::activity_of_this_thread() {
  // A thread belongs to one session; numbers are given in the order of the first request.
  static thread_local const Device* owner = nullptr;
  static thread_local std::size_t place = 0;
  if (owner != this) {
    place = activities_used_.fetch_add(1) % most_threads;
    owner = this;
  }
  return activities_[place];
}

std::chrono::milliseconds Device::longest_operation() const {
  const std::int64_t now = steady_now();
  std::int64_t longest = 0;
  for (const Activity& activity : activities_)
    if (const std::int64_t since = activity.since.load(std::memory_order_relaxed); since != 0)
      longest = std::max(longest, now - since);
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::nanoseconds(longest));
}

void Device::detach() {
  // MNT_DETACH: readers that have files open must not keep a clean stop from happening.
  if (mounted_.exchange(false)) ::umount2(options_.mountpoint.c_str(), MNT_DETACH);
}

void Device::hand_over() {
  handed_over_ = true;
  stop();
}

void Device::stop() {
  if (session_ == nullptr) return;
  fuse_session_exit(session_);
  // The loop looks at the exit flag only when its sem_wait is interrupted, and a signal that comes
  // just before the wait is lost: so it is sent again until the loop has ended.
  while (running_) {
    pthread_kill(runner_, SIGUSR1);
    std::this_thread::sleep_for(2ms);
  }
}

// ---- the kernel's tables -------------------------------------------------------------------

Result<std::uint32_t> Device::add(int descriptor) {
  kernel::BackingMap map{.fd = descriptor, .flags = 0, .padding = 0};
  const int id = ::ioctl(fd_, kernel::backing_open, &map);
  if (id <= 0) return fail_errno("let the kernel read a file by itself");
  return static_cast<std::uint32_t>(id);
}

void Device::remove(std::uint32_t id) {
  remove_if_there(id);
}

bool Device::remove_if_there(std::uint32_t id) {
  return ::ioctl(fd_, kernel::backing_close, &id) == 0;
}

void Device::invalidate_node(fuse_ino_t node) {
  static_cast<void>(fuse_lowlevel_notify_inval_inode(session_, node, 0, 0));
}

// By a process of its own: the kernel waits, and cannot be interrupted, for whoever looks something
// up in that directory. Were this process killed meanwhile, it could not end before the lookup was
// answered, and nobody could take its place and answer it. Between fork() and _exit() there are
// only system calls. What cannot be told is not remembered for long.
void Device::invalidate_names(const std::vector<Invalidations::Name>& names) {
  const pid_t process = ::fork();
  if (process < 0) return;
  if (process == 0) {
    // It may outlive us, and must keep nothing that the next process needs: locks above all.
    ::close_range(3, static_cast<unsigned>(fd_) - 1, 0);
    ::close_range(static_cast<unsigned>(fd_) + 1, ~0u, 0);
    for (const auto& [parent, name] : names)
      static_cast<void>(
          fuse_lowlevel_notify_inval_entry(session_, parent, name.data(), name.size()));
    ::_exit(0);
  }
  while (::waitpid(process, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace icbd::fs
