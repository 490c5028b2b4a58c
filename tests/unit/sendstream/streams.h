// Streams for tests: building them and taking them apart.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "icbd/base/bytes.h"
#include "icbd/base/error.h"
#include "icbd/sendstream/command.h"
#include "icbd/sendstream/decoder.h"
#include "icbd/sendstream/dump.h"
#include "icbd/sendstream/encoder.h"

namespace icbd::sendstream {

inline Bytes joined(const std::vector<Bytes>& pieces) {
  Bytes all;
  for (const Bytes& piece : pieces) all.insert(all.end(), piece.begin(), piece.end());
  return all;
}

inline Bytes encoded_stream(const std::vector<Command>& commands, std::uint32_t version) {
  std::vector<Bytes> pieces = {encode_header(version)};
  for (const Command& command : commands) pieces.push_back(encode(command, version).value());
  return joined(pieces);
}

struct Decoded {
  std::vector<std::string> lines;  // the dump of each command before the end or the error
  Status status;                   // of the stream as a whole
};

// Decodes a stream that arrives in pieces of `piece_size`.
inline Decoded decode_all(ByteView stream, std::size_t piece_size) {
  Decoder decoder;
  Decoded decoded;
  while (!stream.empty()) {
    const ByteView piece = stream.first(std::min(piece_size, stream.size()));
    stream = stream.subspan(piece.size());
    decoder.feed(piece);
    for (;;) {
      const auto command = decoder.next();
      if (!command) {
        decoded.status = std::unexpected(command.error());
        return decoded;
      }
      if (!*command) break;
      decoded.lines.push_back(dump(**command));
    }
  }
  decoded.status = decoder.finish();
  return decoded;
}

inline Decoded decode_all(ByteView stream) {
  return decode_all(stream, stream.size() + 1);
}

}  // namespace icbd::sendstream
