// Snappy's framing format (https://github.com/google/snappy/blob/main/framing_format.txt):
//   stream = chunk…; chunk = u8 type, u24 length, body; the first one is the identifier
//   packed or plain chunk = u32 masked CRC-32C of the plain bytes, at most 64 KiB of them
#include <isa-l/crc.h>
#include <snappy.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "streams.h"

namespace icbd::codec {
namespace {

constexpr std::string_view identifier{"\xff\x06\x00\x00sNaPpY", 10};
constexpr std::size_t header_length = 4;
constexpr std::size_t checksum_length = 4;
constexpr std::size_t block_length = 64 * 1024;

enum ChunkType : std::uint8_t {
  chunk_packed = 0x00,
  chunk_plain = 0x01,
  chunk_skippable = 0x80,  // and all above
  chunk_identifier = 0xff,
};

const char* chars(ByteView bytes) {
  return reinterpret_cast<const char*>(bytes.data());
}

// CRC-32C, rotated and shifted: section 3 of the format.
std::uint32_t masked_checksum(ByteView plain) {
  // ISA-L's interface is not const-correct; it only reads. A block fits an int by far.
  auto* const bytes =
      const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(plain.data()));
  const std::uint32_t checksum = ~crc32_iscsi(bytes, static_cast<int>(plain.size()), ~0u);
  constexpr std::uint32_t mask = 0xa282ead8;
  return ((checksum >> 15) | (checksum << 17)) + mask;
}

class SnappyPacker final : public StreamPacker {
 public:
  Status pack(ByteView plain, const PieceSink& sink) override {
    while (!plain.empty()) {
      const std::size_t part = std::min(plain.size(), block_length - block_.size());
      block_.insert(block_.end(), plain.begin(), plain.begin() + static_cast<std::ptrdiff_t>(part));
      plain = plain.subspan(part);
      if (block_.size() == block_length) ICBD_TRY(hand_over(sink));
    }
    return {};
  }

  Status finish(const PieceSink& sink) override { return hand_over(sink); }

 private:
  Status hand_over(const PieceSink& sink) {
    if (!identified_) ICBD_TRY(sink(as_bytes(identifier)));
    identified_ = true;
    if (block_.empty()) return {};
    constexpr std::size_t before = header_length + checksum_length;
    chunk_.resize(before + snappy::MaxCompressedLength(block_.size()));
    std::size_t length = 0;
    snappy::RawCompress(chars(block_), block_.size(),
                        reinterpret_cast<char*>(chunk_.data() + before), &length);
    // As the format advises: what does not get smaller by an eighth goes as it is.
    const bool packed = length < block_.size() - block_.size() / 8;
    if (!packed) {
      length = block_.size();
      std::ranges::copy(block_, chunk_.begin() + before);
    }
    const std::size_t body = checksum_length + length;
    const std::uint32_t header =
        static_cast<std::uint32_t>(body << 8) | (packed ? chunk_packed : chunk_plain);
    const std::uint32_t checksum = masked_checksum(block_);
    std::memcpy(chunk_.data(), &header, sizeof header);
    std::memcpy(chunk_.data() + header_length, &checksum, sizeof checksum);
    block_.clear();
    return sink(ByteView(chunk_).first(header_length + body));
  }

  bool identified_ = false;
  Bytes block_;
  Bytes chunk_;
};

class SnappyUnpacker final : public StreamUnpacker {
 public:
  Status unpack(ByteView packed, const PieceSink& sink) override {
    while (!packed.empty()) {
      if (skip_ > 0) {
        const std::size_t part = std::min(packed.size(), skip_);
        packed = packed.subspan(part);
        skip_ -= part;
        continue;
      }
      const std::size_t part = std::min(packed.size(), wanted() - chunk_.size());
      chunk_.insert(chunk_.end(), packed.begin(),
                    packed.begin() + static_cast<std::ptrdiff_t>(part));
      packed = packed.subspan(part);
      if (chunk_.size() == header_length) ICBD_TRY(check_header());
      if (chunk_.size() >= header_length && chunk_.size() == wanted()) ICBD_TRY(take(sink));
    }
    return {};
  }

  Status finish() override {
    if (!identified_ || !chunk_.empty() || skip_ > 0) return cut_short("snappy");
    return {};
  }

 private:
  static std::unexpected<Error> damaged() {
    return fail(ErrorCode::corrupt, "snappy data do not unpack");
  }

  std::uint8_t type() const { return static_cast<std::uint8_t>(chunk_[0]); }
  std::size_t body_length() const {
    std::uint32_t header = 0;
    std::memcpy(&header, chunk_.data(), sizeof header);
    return header >> 8;
  }
  // How long the chunk is, as far as it is known.
  std::size_t wanted() const {
    return chunk_.size() < header_length ? header_length : header_length + body_length();
  }

  // Before memory is taken for what it announces.
  Status check_header() {
    const std::size_t length = body_length();
    if (type() == chunk_identifier) {
      identified_ = true;
      if (length != identifier.size() - header_length) return damaged();
      return {};
    }
    if (!identified_) return damaged();
    if (type() >= chunk_skippable) {
      skip_ = length;
      chunk_.clear();
      return {};
    }
    const std::size_t longest = checksum_length + snappy::MaxCompressedLength(block_length);
    if (type() > chunk_plain || length < checksum_length || length > longest) return damaged();
    return {};
  }

  Status take(const PieceSink& sink) {
    if (type() == chunk_identifier) {
      const bool same = as_text(chunk_) == identifier;
      chunk_.clear();
      if (!same) return damaged();
      return {};
    }
    const ByteView body = ByteView(chunk_).subspan(header_length + checksum_length);
    std::size_t length = body.size();
    if (type() == chunk_packed && !snappy::GetUncompressedLength(chars(body), body.size(), &length))
      return damaged();
    if (length > block_length) return damaged();
    plain_.resize(length);
    if (type() == chunk_plain)
      std::ranges::copy(body, plain_.begin());
    else if (!snappy::RawUncompress(chars(body), body.size(),
                                    reinterpret_cast<char*>(plain_.data())))
      return damaged();
    std::uint32_t checksum = 0;
    std::memcpy(&checksum, chunk_.data() + header_length, sizeof checksum);
    chunk_.clear();
    if (checksum != masked_checksum(plain_)) return damaged();
    return sink(plain_);
  }

  bool identified_ = false;
  std::size_t skip_ = 0;  // of a chunk that means nothing
  Bytes chunk_;
  Bytes plain_;
};

}  // namespace

Result<std::unique_ptr<StreamPacker>> make_snappy_stream_packer() {
  return std::make_unique<SnappyPacker>();
}

Result<std::unique_ptr<StreamUnpacker>> make_snappy_stream_unpacker() {
  return std::make_unique<SnappyUnpacker>();
}

}  // namespace icbd::codec
