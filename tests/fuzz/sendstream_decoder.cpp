// Any bytes: the decoder gives commands or an error, the same in pieces of any size, and what it
// gives survives encoding and decoding, down to the last bit.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "icbd/sendstream/decoder.h"
#include "icbd/sendstream/dump.h"
#include "icbd/sendstream/encoder.h"

#include "sendstream_repair.h"

namespace icbd::sendstream {
namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

// decode(encode(command)) is the command: it reads the same and, encoded again, is the same bytes.
void check_round_trip(const Command& command, std::uint32_t version) {
  const auto encoded = encode(command, version);
  require(encoded.has_value());
  Decoder decoder;
  decoder.feed(encode_header(version));
  decoder.feed(*encoded);
  const auto decoded = decoder.next();
  require(decoded && *decoded);
  require(dump(**decoded) == dump(command));
  const auto again = encode(**decoded, version);
  require(again && *again == *encoded);
}

// A line per command, and the error at last.
std::vector<std::string> decode(ByteView stream, std::size_t piece_size, bool encode_again) {
  Decoder decoder;
  std::vector<std::string> lines;
  while (!stream.empty()) {
    const ByteView piece = stream.first(std::min(piece_size, stream.size()));
    stream = stream.subspan(piece.size());
    decoder.feed(piece);
    for (;;) {
      const auto command = decoder.next();
      if (!command) return lines.push_back(command.error().message()), lines;
      if (!*command) break;
      lines.push_back(dump(**command));
      if (!encode_again) continue;
      check_round_trip(**command, decoder.version());
    }
  }
  if (const Status status = decoder.finish(); !status) lines.push_back(status.error().message());
  return lines;
}

// Who feeds just what is missing, and passes over what is wrong, comes to an end, and has taken
// nothing that the decoder has not asked for.
void check_exact(ByteView stream) {
  Decoder decoder;
  while (const std::size_t missing = decoder.missing()) {
    if (missing > stream.size()) return;
    decoder.feed(stream.first(missing));
    stream = stream.subspan(missing);
    const std::uint64_t before = decoder.position();
    const auto command = decoder.next();
    if (!command && !decoder.pass_over()) return;
    if (!command || *command) require(decoder.position() > before && decoder.rest().empty());
  }
  require(decoder.ended());
}

void check(ByteView stream) {
  const auto whole = decode(stream, stream.size() + 1, true);
  require(whole == decode(stream, 1 + stream.size() % 97, false));
  check_exact(stream);
}

}  // namespace
}  // namespace icbd::sendstream

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const icbd::ByteView stream{reinterpret_cast<const std::byte*>(data), size};
  icbd::sendstream::check(stream);
  icbd::sendstream::check(icbd::sendstream::repair_checksums(stream));
  return 0;
}
