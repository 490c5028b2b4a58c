// Bytes in, commands out.
//
// Purpose: decodes a send stream of version 1 or 2 (version 3's commands are recognised) as it
// arrives, in pieces of any size. Pure: no I/O, no logging.
// Lifecycle: feed() bytes, then next() until it returns nothing, and so on. After End, any
// further byte is an error; an error is final.
// Guarantees: each command's length is held against limits::sendstream_command before it is
// buffered; its CRC32C is checked before it is parsed; every attribute is bounded; a missing,
// repeated, oversized or unknown attribute and an unknown command are errors (corrupt or
// unsupported) that name the command and the byte offset in the stream.
// Not thread-safe.
#pragma once

#include <cstdint>
#include <optional>

#include "icbd/base/bytes.h"
#include "icbd/base/error.h"
#include "icbd/sendstream/command.h"

namespace icbd::sendstream {

class Decoder {
 public:
  // Copies what it cannot use at once. Views handed out by next() become invalid.
  void feed(ByteView data);

  // The next whole command, or nothing if more bytes are needed (or the stream has ended).
  Result<std::optional<Command>> next();

  // True once End was returned by next().
  bool ended() const { return ended_; }
  // `corrupt` unless the stream ended with End and nothing is left over. Call it when the
  // transport has no more bytes.
  Status finish() const;

  // The stream's version; 0 until its header has been read.
  std::uint32_t version() const { return version_; }
  // Bytes of the stream that were decoded into commands, header included.
  std::uint64_t position() const { return position_; }

 private:
  Result<std::optional<Command>> decode_next();
  // False if more bytes are needed.
  Result<bool> decode_header();

  Bytes buffer_;
  std::size_t consumed_ = 0;  // of buffer_
  std::uint32_t version_ = 0;
  std::uint64_t position_ = 0;
  bool ended_ = false;
  std::optional<Error> failure_;
};

}  // namespace icbd::sendstream
