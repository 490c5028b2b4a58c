// Commands in, bytes out: the decoder's inverse.
//
// Purpose: tests and, later, plain streams for people. Pure. decode(encode(c)) == c for every
// command that the version has (but for the time of creation, which version 1 leaves out and
// version 3 sets to 0 if there is none). A stream of the kernel, decoded and encoded, is the same
// bytes again.
#pragma once

#include "icbd/base/bytes.h"
#include "icbd/base/error.h"
#include "icbd/sendstream/command.h"

namespace icbd::sendstream {

// The 17 bytes that a stream begins with: "btrfs-stream\0" and the version.
Bytes encode_header(std::uint32_t version);
// One command with its length and CRC. `unsupported` if `version` does not have the command;
// `too_large` if it does not fit.
Result<Bytes> encode(const Command& command, std::uint32_t version);

}  // namespace icbd::sendstream
