#include "icbd/btrfs/send.h"

#include <btrfsutil.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/btrfs.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <exception>
#include <thread>

#include "icbd/btrfs/subvolume.h"

#include "describe.h"

namespace icbd::btrfs {
namespace {

// Of a shape. In protocol 2 punched holes come as fallocate; in 1 they look like data.
constexpr std::uint32_t shape_protocol = 2;
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

std::uint64_t flags_of(const SendOptions& options) {
  std::uint64_t flags = BTRFS_SEND_FLAG_VERSION;
  if (options.no_data) flags |= BTRFS_SEND_FLAG_NO_FILE_DATA;
  if (options.compressed_data) flags |= BTRFS_SEND_FLAG_COMPRESSED;
  if (options.omit_stream_header) flags |= BTRFS_SEND_FLAG_OMIT_STREAM_HEADER;
  if (options.omit_end) flags |= BTRFS_SEND_FLAG_OMIT_END_CMD;
  return flags;
}

// What the receiver has: the kernel does not add the parent by itself, and without it reports
// unchanged tails of files as changed.
Result<std::vector<__u64>> clone_sources(const SendOptions& options) {
  std::vector<__u64> sources;
  if (options.parent_root_fd >= 0) {
    ICBD_ASSIGN(const std::uint64_t parent, tree_id(options.parent_root_fd));
    sources.push_back(parent);
  }
  for (const int fd : options.clone_root_fds) {
    ICBD_ASSIGN(const std::uint64_t id, tree_id(fd));
    if (std::ranges::find(sources, id) == sources.end()) sources.push_back(id);
  }
  return sources;
}

SendOptions shape_options(int parent_root_fd) {
  return {.parent_root_fd = parent_root_fd, .protocol = shape_protocol, .no_data = true};
}

}  // namespace

Status send(int root_fd, const SendOptions& options, int output_fd) {
  if (options.compressed_data && options.protocol == 1)
    return fail(ErrorCode::invalid_argument,
                "protocol 1 knows no compressed data: use 2, or 0 for the newest");
  ICBD_ASSIGN(std::vector<__u64> sources, clone_sources(options));
  btrfs_ioctl_send_args kernel{};
  kernel.send_fd = output_fd;
  kernel.flags = flags_of(options);
  kernel.version = options.protocol;
  if (options.parent_root_fd >= 0) kernel.parent_root = sources.front();
  if (!sources.empty()) {
    kernel.clone_sources = sources.data();
    kernel.clone_sources_count = sources.size();
  }
  if (ioctl(root_fd, BTRFS_IOC_SEND, &kernel) == 0) return {};
  const int cause = errno;
  // btrfs_ioctl_send in fs/btrfs/send.c
  if (cause == EPROTO)
    return fail(ErrorCode::unsupported,
                fmt::format("this kernel's send knows no protocol {}; 0 stands for its newest",
                            options.protocol));
  return fail_errno(fmt::format("send {}", describe(root_fd)), cause);
}

Status send(int root_fd, const SendOptions& options,
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
      sent = send(root_fd, options, write_end.get());
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

Status send_shape(int root_fd, int parent_root_fd, int output_fd) {
  return send(root_fd, shape_options(parent_root_fd), output_fd);
}

Status send_shape(int root_fd, int parent_root_fd,
                  const std::function<Status(ByteView piece)>& sink) {
  return send(root_fd, shape_options(parent_root_fd), sink);
}

}  // namespace icbd::btrfs
