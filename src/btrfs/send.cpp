// The kernel's metadata-only send.
#include <btrfsutil.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/btrfs.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <exception>
#include <thread>

#include "icbd/btrfs/subvolume.h"

#include "describe.h"

namespace icbd::btrfs {
namespace {

// Version 2: punched holes come as fallocate; in version 1 they look like data.
constexpr std::uint32_t stream_version = 2;
// Through the default 64 KiB pipe a send is half as fast (measured). 1 MiB is the most that a
// process without privileges may ask for.
constexpr int pipe_size = 1024 * 1024;
constexpr std::size_t piece_size = 256 * 1024;

Result<std::uint64_t> tree_id(int root_fd) {
  std::uint64_t id = 0;
  if (btrfs_util_subvolume_id_fd(root_fd, &id) != BTRFS_UTIL_OK)
    return fail_errno(fmt::format("find the subvolume of {}", describe(root_fd)));
  return id;
}

// The signal that a broken pipe raises must not end the program; nor should this thread take
// those that the program waits for elsewhere.
void block_all_signals() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

Status read_pieces(int pipe_fd, const std::function<Status(ByteView)>& sink) {
  Bytes piece(piece_size);
  while (true) {
    const ssize_t got = read(pipe_fd, piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno("read a send stream");
    if (got == 0) return {};
    ICBD_TRY(sink(ByteView(piece).first(static_cast<std::size_t>(got))));
  }
}

}  // namespace

Status send_shape(int root_fd, int parent_root_fd, int output_fd) {
  btrfs_ioctl_send_args kernel{};
  __u64 parent = 0;
  if (parent_root_fd >= 0) {
    ICBD_ASSIGN(parent, tree_id(parent_root_fd));
    kernel.parent_root = parent;
    // The kernel does not add it by itself, and without it reports unchanged tails as changed.
    kernel.clone_sources = &parent;
    kernel.clone_sources_count = 1;
  }
  kernel.send_fd = output_fd;
  kernel.flags = BTRFS_SEND_FLAG_VERSION | BTRFS_SEND_FLAG_NO_FILE_DATA;
  kernel.version = stream_version;
  if (ioctl(root_fd, BTRFS_IOC_SEND, &kernel) < 0)
    return fail_errno(fmt::format("send the shape of {}", describe(root_fd)));
  return {};
}

Status send_shape(int root_fd, int parent_root_fd,
                  const std::function<Status(ByteView piece)>& sink) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return fail_errno("make a pipe for a send stream");
  unique_fd read_end(ends[0]);
  unique_fd write_end(ends[1]);
  // A smaller pipe is only slower: the limit of pipes per user may be reached.
  fcntl(write_end.get(), F_SETPIPE_SZ, pipe_size);

  Status sent;
  std::thread sender;
  try {
    sender = std::thread([&] {
      block_all_signals();
      sent = send_shape(root_fd, parent_root_fd, write_end.get());
      write_end.reset();  // the reader's end of file
    });
  } catch (const std::exception& error) {
    return fail(ErrorCode::busy, fmt::format("start a thread for a send stream: {}", error.what()));
  }
  const Status read = read_pieces(read_end.get(), sink);
  // If the sink gave up, this is what wakes the sender: its next write fails with EPIPE.
  read_end.reset();
  sender.join();
  if (!read) return read;
  return sent;
}

}  // namespace icbd::btrfs
