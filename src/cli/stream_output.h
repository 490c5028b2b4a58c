// Where a send stream goes: a file or standard output, packed if that is asked for.
//
// Lifecycle: open(); write() pieces; finish(). What is destroyed without finish() leaves no file
// behind: half a stream is of no use. Not thread-safe.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "icbd/base/bytes.h"
#include "icbd/base/error.h"
#include "icbd/base/unique_fd.h"
#include "icbd/codec/stream.h"

namespace icbd::cli {

class StreamOutput {
 public:
  // "" or "-": standard output, which stays the caller's; invalid_argument if that is a terminal.
  // A file that exists is replaced.
  static Result<StreamOutput> open(const std::string& file, int standard_output,
                                   codec::Setting setting);
  ~StreamOutput();
  StreamOutput(StreamOutput&& other) noexcept;
  StreamOutput& operator=(StreamOutput&&) = delete;

  Status write(ByteView piece);
  // All of it is there, in a file durably.
  Status finish();

  // What was written, packed.
  std::uint64_t bytes() const { return bytes_; }
  // Who writes without write(), as the kernel can: a pipe or socket that takes the stream as it is;
  // -1 for anything else.
  int direct_fd() const;

 private:
  StreamOutput() = default;
  Status put(ByteView piece);

  std::filesystem::path path_;  // of a regular file of ours that is not finished
  unique_fd file_;
  int fd_ = -1;
  bool is_packed_ = false;
  std::unique_ptr<codec::StreamPacker> packer_;
  std::uint64_t bytes_ = 0;
};

}  // namespace icbd::cli
