#include "stream_output.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "icbd/base/file.h"
#include "icbd/base/quote.h"

namespace icbd::cli {
namespace {

// As in stream_input.cpp.
constexpr int pipe_size = 1024 * 1024;
// Whoever may read a stream reads all that is in it.
constexpr unsigned private_mode = 0600;

}  // namespace

Result<StreamOutput> StreamOutput::open(const std::string& file, int standard_output,
                                        codec::Setting setting) {
  StreamOutput output;
  output.is_packed_ = setting.algorithm != codec::Algorithm::none;
  ICBD_ASSIGN(output.packer_, codec::make_stream_packer(setting));
  output.fd_ = standard_output;
  if (!file.empty() && file != "-") {
    ICBD_ASSIGN(output.file_, open_file(file, O_WRONLY | O_CREAT | O_TRUNC, private_mode));
    output.fd_ = output.file_.get();
  } else if (::isatty(standard_output) == 1) {
    return fail(ErrorCode::invalid_argument,
                "standard output is a terminal, which a stream would only confuse: use -f FILE, or "
                "a pipe");
  }
  struct stat status{};
  if (::fstat(output.fd_, &status) != 0) return fail_errno("look at the stream's file");
  if (output.file_ && S_ISREG(status.st_mode)) output.path_ = file;
  // Only makes it faster.
  if (S_ISFIFO(status.st_mode)) ::fcntl(output.fd_, F_SETPIPE_SZ, pipe_size);
  return output;
}

StreamOutput::StreamOutput(StreamOutput&& other) noexcept
    : path_(std::exchange(other.path_, {})),
      file_(std::move(other.file_)),
      fd_(other.fd_),
      is_packed_(other.is_packed_),
      packer_(std::move(other.packer_)),
      bytes_(other.bytes_) {}

StreamOutput::~StreamOutput() {
  if (!path_.empty()) ::unlink(path_.c_str());
}

Status StreamOutput::write(ByteView piece) {
  return packer_->pack(piece, [this](ByteView packed) { return put(packed); });
}

Status StreamOutput::finish() {
  ICBD_TRY(packer_->finish([this](ByteView packed) { return put(packed); }));
  if (path_.empty()) return {};
  if (::fsync(fd_) != 0) return fail_errno(fmt::format("write {}", quote(path_.string())));
  path_.clear();
  return {};
}

Status StreamOutput::put(ByteView piece) {
  bytes_ += piece.size();
  const Status written = write_all(fd_, piece);
  if (!written) return std::unexpected(written.error().with_context("write the stream"));
  return {};
}

// The kernel's send writes to a file from its beginning on, wherever it stands, and does not wait
// for a pipe that does not block.
int StreamOutput::direct_fd() const {
  struct stat status{};
  if (is_packed_ || ::fstat(fd_, &status) != 0) return -1;
  if (!S_ISFIFO(status.st_mode) && !S_ISSOCK(status.st_mode)) return -1;
  const int flags = ::fcntl(fd_, F_GETFL);
  return flags < 0 || (flags & O_NONBLOCK) != 0 ? -1 : fd_;
}

}  // namespace icbd::cli
