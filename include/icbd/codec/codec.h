// Packing and unpacking of blocks: lz4, snappy, zlib and zstd behind one interface.
//
// Purpose: the payload of a frame, and a frame of `icbd send --compress`. A block is packed by
// itself; nothing is kept from one block to the next but memory.
// Lifecycle: a compressor or decompressor is made once and used for many blocks.
// Guarantees: pure. Packing is worth it or not done (smaller by a sixteenth). Unpacking fills
// exactly what it is given, writes nowhere else, reads nothing else, and takes no memory by what
// the data say. Packed data that are cut short are always noticed; other damage is noticed or
// gives other bytes: checksums and digests are the business of who calls.
// Not thread-safe: one object per thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "icbd/base/bytes.h"
#include "icbd/base/error.h"

namespace icbd::codec {

// The byte on the wire: a number never gets another meaning.
enum class Algorithm : std::uint8_t { none = 0, lz4 = 1, snappy = 2, zlib = 3, zstd = 4 };

std::string_view to_string(Algorithm algorithm);
// `unsupported` for a byte that this release has no algorithm for.
Result<Algorithm> parse_algorithm(std::uint8_t byte);

struct Setting {
  Algorithm algorithm = Algorithm::none;
  int level = 0;  // 0: the algorithm's default

  bool operator==(const Setting&) const = default;
};

// "none", "snappy", "lz4", "lz4:9", "zlib:1", "zstd:-1", "zstd:3": an algorithm, and a level if it
// has any. lz4 with a level (3 to 12) is its slow, high compression. The error lists what is
// allowed, with the name that was probably meant.
Result<Setting> parse_setting(std::string_view text);
// What parse_setting() reads as the same.
std::string to_string(Setting setting);

class Compressor {
 public:
  virtual ~Compressor() = default;

  // True: `packed` holds `plain`, smaller by at least a sixteenth. False: it would not be; send it
  // plain. `packed` is then empty. `too_large` over limits::frame_payload bytes of plain.
  Result<bool> compress(ByteView plain, Bytes& packed);

 private:
  // The length of what it wrote into `room`; 0 if it does not fit. Both are not empty.
  virtual Result<std::size_t> pack(ByteView plain, std::span<std::byte> room) = 0;
};

class Decompressor {
 public:
  virtual ~Decompressor() = default;

  // Fills `plain` exactly. `corrupt` if that is not what `packed` holds; `plain` may then hold
  // anything. `too_large` if either is over limits::frame_payload.
  Status decompress(ByteView packed, std::span<std::byte> plain);

 private:
  // True if `packed` was one whole block of just this length. Both are not empty.
  virtual bool unpack(ByteView packed, std::span<std::byte> plain) = 0;
  virtual Algorithm algorithm() const = 0;
};

// `none` is an algorithm too: its compressor finds nothing worth packing, and what it has "packed"
// are the bytes themselves. `invalid_argument` for a level that parse_setting() would refuse.
Result<std::unique_ptr<Compressor>> make_compressor(Setting setting);
Result<std::unique_ptr<Decompressor>> make_decompressor(Algorithm algorithm);

}  // namespace icbd::codec
