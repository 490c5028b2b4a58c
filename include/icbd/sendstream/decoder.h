// Bytes in, commands out.
//
// Purpose: decodes a send stream of version 1, 2 or 3 as it arrives, in pieces of any size. Pure:
// no I/O, no logging.
// Lifecycle: feed() bytes, then next() until it returns nothing, and so on. After End, any
// further byte is an error, but for who takes them as the beginning of a further stream (rest()).
// An error is final, unless pass_over() can go on behind it.
// Guarantees: each command's length is held against limits::sendstream_command before it is
// buffered; its CRC32C is checked before it is parsed; every attribute is bounded. Errors name the
// command and its byte offset in the stream:
//   corrupt      a wrong checksum; an attribute that is missing, there twice or too long; bytes
//                after End
//   unsupported  a version, a command or an attribute that is not known, or known in a later
//                version only, or not an attribute of its command. Nothing is skipped: what is not
//                understood may be what the version is about.
// A flipped bit anywhere in a stream of the kernel is an error, or leaves every command as it was
// (version 2 taken for version 3). The header's version has no checksum, and version 3 lays out
// data in another way than version 1; they are told apart by the time of creation, which versions
// from 2 on have and version 1 has not.
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

  // After an error of next(), before anything else: leaves out the command that was wrong, and
  // forgets the error. False if it was not one command that was wrong, or nobody can say where the
  // next one begins.
  bool pass_over();

  // What was fed and not decoded; valid until the next call.
  ByteView rest() const { return ByteView(buffer_).subspan(consumed_); }

  // How many bytes it takes at least until next() has something: for who must not read beyond the
  // stream's end. 0 after it.
  std::size_t missing() const;

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
  std::size_t wrong_command_ = 0;  // its size, if it is whole
  std::optional<Error> failure_;
};

}  // namespace icbd::sendstream
