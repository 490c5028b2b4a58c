// Where a send stream comes from: a file or standard input, unpacked if it is in a container.
//
// Lifecycle: open(), then read() once. Not thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "icbd/base/bytes.h"
#include "icbd/base/error.h"
#include "icbd/base/unique_fd.h"

namespace icbd::cli {

class StreamInput {
 public:
  using Sink = std::function<Status(ByteView piece)>;
  // How many bytes of the stream may be handed over next; 0: no more.
  using Demand = std::function<std::size_t()>;
  // Told of bytes as they lie in the file.
  using Progress = std::function<void(std::size_t bytes)>;

  // "" or "-": standard input, which stays the caller's.
  static Result<StreamInput> open(const std::string& file, int standard_input);

  // Of the file; 0 if nobody knows.
  std::uint64_t size() const { return size_; }

  // Hands over the stream until there is no more, or no more is wanted. From a stream that is not
  // packed no more is read than `demand` allows: what follows stays for the next reader.
  Status read(const Sink& sink, const Demand& demand, const Progress& progress) const;
  Status read(const Sink& sink) const;

 private:
  Status read_rest(const Sink& sink, const Demand& demand, const Progress& progress) const;

  unique_fd file_;
  int fd_ = -1;
  std::uint64_t size_ = 0;
};

}  // namespace icbd::cli
