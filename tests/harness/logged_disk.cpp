#define FUSE_USE_VERSION 314
#include "harness/logged_disk.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>
#include <random>
#include <thread>

#include "icbd/base/bytes.h"
#include "icbd/base/file.h"

#include "harness/run.h"
#include "harness/temporary_directory.h"

namespace icbd::harness {
namespace {

constexpr std::size_t atomic_size = 4096;
constexpr fuse_ino_t disk_inode = 2;
constexpr double attributes_timeout = 1e9;  // nothing changes behind the kernel's back
// The loop device lets go of the file a moment after its filesystem was unmounted.
constexpr int unmount_attempts = 100;
constexpr std::chrono::milliseconds unmount_pause{20};

struct Record {
  std::uint64_t offset = 0;
  Bytes bytes;  // none: a flush
};

}  // namespace

struct LoggedDisk::State {
  explicit State(TemporaryDirectory made) : folder(std::move(made)) {}

  Status mount();
  void unmount() const;
  void serve() const;
  void add(Record record) {
    const std::lock_guard lock(mutex);
    log.push_back(std::move(record));
  }

  // What FUSE calls.
  static State& of(fuse_req_t request) { return *static_cast<State*>(fuse_req_userdata(request)); }
  struct stat attributes(fuse_ino_t inode) const;
  static void look_up(fuse_req_t request, fuse_ino_t parent, const char* name);
  static void get_attributes(fuse_req_t request, fuse_ino_t inode, fuse_file_info* info);
  static void set_attributes(fuse_req_t request, fuse_ino_t inode, struct stat* wanted, int which,
                             fuse_file_info* info);
  static void read(fuse_req_t request, fuse_ino_t inode, std::size_t size, off_t offset,
                   fuse_file_info* info);
  static void write(fuse_req_t request, fuse_ino_t inode, const char* bytes, std::size_t size,
                    off_t offset, fuse_file_info* info);
  static void sync(fuse_req_t request, fuse_ino_t inode, int data_only, fuse_file_info* info);

  TemporaryDirectory folder;
  std::filesystem::path mountpoint, file;
  std::uint64_t size = 0;
  unique_fd content;  // as it is now
  std::mutex mutex;
  std::deque<Record> log;  // guarded by mutex; records do not move and do not change
  fuse_session* session = nullptr;
  unique_fd ending{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::jthread server;
};

struct stat LoggedDisk::State::attributes(fuse_ino_t inode) const {
  struct stat result{};
  result.st_ino = inode;
  result.st_mode = inode == disk_inode ? S_IFREG | 0600 : S_IFDIR | 0700;
  result.st_nlink = 1;
  result.st_size = inode == disk_inode ? static_cast<off_t>(size) : 0;
  return result;
}

void LoggedDisk::State::look_up(fuse_req_t request, fuse_ino_t, const char* name) {
  const State& state = of(request);
  if (name != state.file.filename()) {
    fuse_reply_err(request, ENOENT);
    return;
  }
  fuse_entry_param entry{};
  entry.ino = disk_inode;
  entry.attr = state.attributes(disk_inode);
  entry.attr_timeout = entry.entry_timeout = attributes_timeout;
  fuse_reply_entry(request, &entry);
}

void LoggedDisk::State::get_attributes(fuse_req_t request, fuse_ino_t inode, fuse_file_info*) {
  const auto result = of(request).attributes(inode);
  fuse_reply_attr(request, &result, attributes_timeout);
}

// A disk keeps its size.
void LoggedDisk::State::set_attributes(fuse_req_t request, fuse_ino_t inode, struct stat*, int,
                                       fuse_file_info* info) {
  get_attributes(request, inode, info);
}

void LoggedDisk::State::read(fuse_req_t request, fuse_ino_t, std::size_t size, off_t offset,
                             fuse_file_info*) {
  Bytes bytes(size);
  const auto got = read_at(of(request).content.get(), bytes, static_cast<std::uint64_t>(offset));
  if (got)
    fuse_reply_buf(request, reinterpret_cast<const char*>(bytes.data()), *got);
  else
    fuse_reply_err(request, EIO);
}

void LoggedDisk::State::write(fuse_req_t request, fuse_ino_t, const char* bytes, std::size_t size,
                              off_t offset, fuse_file_info*) {
  Record record{.offset = static_cast<std::uint64_t>(offset), .bytes = Bytes(size)};
  std::memcpy(record.bytes.data(), bytes, size);
  if (const Status written = write_at(of(request).content.get(), record.bytes, record.offset);
      !written) {
    fuse_reply_err(request, EIO);
    return;
  }
  of(request).add(std::move(record));
  fuse_reply_write(request, size);
}

void LoggedDisk::State::sync(fuse_req_t request, fuse_ino_t, int, fuse_file_info*) {
  of(request).add({});
  fuse_reply_err(request, 0);
}

Status LoggedDisk::State::mount() {
  fuse_lowlevel_ops operations{};
  operations.lookup = look_up;
  operations.getattr = get_attributes;
  operations.setattr = set_attributes;
  operations.read = read;
  operations.write = write;
  operations.fsync = sync;
  std::string program = "logged-disk";
  std::array<char*, 2> arguments{program.data(), nullptr};
  fuse_args args = FUSE_ARGS_INIT(1, arguments.data());
  session = fuse_session_new(&args, &operations, sizeof operations, this);
  if (session == nullptr) return fail(ErrorCode::internal, "libfuse refused to make a session");
  if (fuse_session_mount(session, mountpoint.c_str()) != 0)
    return fail(ErrorCode::io, fmt::format("mount {}", mountpoint.string()));
  server = std::jthread([this] { serve(); });
  return {};
}

void LoggedDisk::State::serve() const {
  fuse_buf buffer{};
  std::array<pollfd, 2> waited{pollfd{fuse_session_fd(session), POLLIN, 0},
                               pollfd{ending.get(), POLLIN, 0}};
  while (fuse_session_exited(session) == 0) {
    if (poll(waited.data(), waited.size(), -1) < 0 && errno != EINTR) break;
    if (waited[1].revents != 0) break;
    if (waited[0].revents == 0) continue;
    const int got = fuse_session_receive_buf(session, &buffer);
    if (got == -EINTR) continue;
    if (got <= 0) break;
    fuse_session_process_buf(session, &buffer);
  }
  std::free(buffer.mem);
}

void LoggedDisk::State::unmount() const {
  for (int attempt = 0; attempt < unmount_attempts; ++attempt) {
    if (umount2(mountpoint.c_str(), 0) == 0 || errno != EBUSY) return;
    std::this_thread::sleep_for(unmount_pause);
  }
  std::fprintf(stderr, "%s is still in use: detaching it\n", mountpoint.c_str());
  umount2(mountpoint.c_str(), MNT_DETACH);
}

LoggedDisk::LoggedDisk(std::unique_ptr<State> state) : state_(std::move(state)) {}

Result<std::unique_ptr<LoggedDisk>> LoggedDisk::create(std::uint64_t size) {
  ICBD_ASSIGN(TemporaryDirectory folder, TemporaryDirectory::create());
  std::unique_ptr<LoggedDisk> disk(new LoggedDisk(std::make_unique<State>(std::move(folder))));
  State& state = *disk->state_;
  state.size = size;
  state.mountpoint = state.folder.path() / "mount";
  state.file = state.mountpoint / "disk";
  if (mkdir(state.mountpoint.c_str(), 0700) != 0) return fail_errno("make a mountpoint");
  ICBD_ASSIGN(state.content,
              open_file(state.folder.path() / "content", O_RDWR | O_CREAT | O_EXCL, 0600));
  if (ftruncate(state.content.get(), static_cast<off_t>(size)) != 0) return fail_errno("ftruncate");
  ICBD_TRY(state.mount());
  return disk;
}

LoggedDisk::~LoggedDisk() {
  if (state_->session == nullptr) return;
  if (state_->server.joinable()) {
    state_->unmount();
    eventfd_write(state_->ending.get(), 1);
    state_->server.join();
  }
  fuse_session_destroy(state_->session);
}

const std::filesystem::path& LoggedDisk::file() const {
  return state_->file;
}

std::size_t LoggedDisk::moment() const {
  const std::lock_guard lock(state_->mutex);
  return state_->log.size();
}

PowerCut::PowerCut(const LoggedDisk& disk, std::filesystem::path folder)
    : disk_(disk), folder_(std::move(folder)) {}

// Brings the base image to hold all records before `end`.
Status PowerCut::advance(std::size_t end) {
  const bool anew = end < flushed_ || flushed_ == 0;
  ICBD_ASSIGN(const unique_fd base,
              open_file(folder_ / "base", O_RDWR | O_CREAT | (anew ? O_TRUNC : 0), 0600));
  if (ftruncate(base.get(), static_cast<off_t>(disk_.state_->size)) != 0)
    return fail_errno("make a disk image");
  for (std::size_t i = anew ? 0 : flushed_; i < end; ++i) {
    const Record& record = disk_.state_->log[i];
    ICBD_TRY(write_at(base.get(), record.bytes, record.offset));
  }
  flushed_ = end;
  return {};
}

Result<std::filesystem::path> PowerCut::image_at(std::size_t moment,
                                                 std::optional<std::uint64_t> seed) {
  const std::lock_guard lock(disk_.state_->mutex);
  const std::deque<Record>& log = disk_.state_->log;
  moment = std::min(moment, log.size());
  std::size_t flush = moment;
  while (flush > 0 && !log[flush - 1].bytes.empty()) --flush;
  ICBD_TRY(advance(flush));

  const auto image = folder_ / "image";
  std::filesystem::remove(image);
  ICBD_TRY(run_checked({"cp", "--sparse=always", (folder_ / "base").string(), image.string()}));
  ICBD_ASSIGN(const unique_fd fd, open_file(image, O_RDWR));
  std::mt19937_64 random(seed.value_or(0));
  for (std::size_t i = flush; i < moment; ++i) {
    const Record& record = log[i];
    for (std::size_t at = 0; at < record.bytes.size();) {
      // Blocks of the disk, whatever the write's offset.
      const std::size_t block = atomic_size - (record.offset + at) % atomic_size;
      const std::size_t part = std::min(block, record.bytes.size() - at);
      if (!seed || random() % 2 == 0)
        ICBD_TRY(write_at(fd.get(), ByteView(record.bytes).subspan(at, part), record.offset + at));
      at += part;
    }
  }
  return image;
}

}  // namespace icbd::harness
