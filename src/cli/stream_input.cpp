#include "stream_input.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include "icbd/base/file.h"
#include "icbd/codec/stream.h"

namespace icbd::cli {
namespace {

// A send through the default pipe of 64 KiB is half as fast; 1 MiB is the most that a process
// without privileges may ask for.
constexpr int pipe_size = 1024 * 1024;
constexpr std::size_t piece_size = 256 * 1024;

// 0 at the end.
Result<std::size_t> read_some(int fd, std::span<std::byte> room) {
  while (true) {
    const ssize_t length = ::read(fd, room.data(), room.size());
    if (length >= 0) return static_cast<std::size_t>(length);
    if (errno != EINTR) return fail_errno("read the stream");
  }
}

// As much as tells what container it is, less only if there is no more.
Result<Bytes> read_beginning(int fd) {
  Bytes beginning(codec::container_magic_length);
  std::size_t length = 0;
  while (length < beginning.size()) {
    ICBD_ASSIGN(const std::size_t more, read_some(fd, std::span(beginning).subspan(length)));
    if (more == 0) break;
    length += more;
  }
  beginning.resize(length);
  return beginning;
}

std::size_t all() {
  return std::numeric_limits<std::size_t>::max();
}

}  // namespace

Result<StreamInput> StreamInput::open(const std::string& file, int standard_input) {
  StreamInput input;
  input.fd_ = standard_input;
  if (!file.empty() && file != "-") {
    ICBD_ASSIGN(input.file_, open_file(file, O_RDONLY));
    input.fd_ = input.file_.get();
  }
  struct stat status{};
  if (::fstat(input.fd_, &status) != 0) return fail_errno("look at the stream's file");
  if (S_ISREG(status.st_mode)) input.size_ = static_cast<std::uint64_t>(status.st_size);
  // Only makes it faster.
  if (S_ISFIFO(status.st_mode)) ::fcntl(input.fd_, F_SETPIPE_SZ, pipe_size);
  return input;
}

Status StreamInput::read(const Sink& sink) const {
  return read(sink, all, [](std::size_t) {});
}

Status StreamInput::read(const Sink& sink, const Demand& demand, const Progress& progress) const {
  if (demand() == 0) return {};
  ICBD_ASSIGN(const Bytes beginning, read_beginning(fd_));
  const codec::Algorithm container = codec::detect_container(beginning);
  if (container == codec::Algorithm::none) {
    if (!beginning.empty()) ICBD_TRY(sink(beginning));
    progress(beginning.size());
    return read_rest(sink, demand, progress);
  }
  ICBD_ASSIGN(const auto unpacker, codec::make_stream_unpacker(container));
  const Sink unpack = [&](ByteView piece) { return unpacker->unpack(piece, sink); };
  ICBD_TRY(unpack(beginning));
  progress(beginning.size());
  ICBD_TRY(read_rest(unpack, [&demand] { return demand() == 0 ? 0 : all(); }, progress));
  if (demand() == 0) return {};
  return unpacker->finish();
}

Status StreamInput::read_rest(const Sink& sink, const Demand& demand,
                              const Progress& progress) const {
  Bytes piece(piece_size);
  while (const std::size_t wanted = demand()) {
    const std::span<std::byte> room = std::span(piece).first(std::min(wanted, piece.size()));
    ICBD_ASSIGN(const std::size_t length, read_some(fd_, room));
    if (length == 0) return {};
    ICBD_TRY(sink(room.first(length)));
    progress(length);
  }
  return {};
}

}  // namespace icbd::cli
