// Byte order and bounded reading and writing of little-endian data.
//
// Purpose: every format of ours (manifest, wire, pending map) and the send stream is
// little-endian. ByteReader never reads past its span: after the first short read it is failed
// and returns zeros, so that a decoder may read a whole struct and check once.
// Not thread-safe.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "icbd/base/digest.h"
#include "icbd/base/uuid.h"

namespace icbd {

static_assert(std::endian::native == std::endian::little,
              "icbd's formats are little-endian and are read in place");

using Bytes = std::vector<std::byte>;
using ByteView = std::span<const std::byte>;

inline ByteView as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
inline std::string_view as_text(ByteView bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class ByteReader {
 public:
  explicit ByteReader(ByteView data) : rest_(data) {}

  template <std::integral Number>
  Number read() {
    Number value{};
    if (const ByteView field = take(sizeof value); field.size() == sizeof value)
      std::memcpy(&value, field.data(), sizeof value);
    return value;
  }
  // The next `length` bytes, in place; empty and failed if there are fewer.
  ByteView take(std::size_t length);
  // A u32 length and as many bytes; fails if the length is over `limit`.
  ByteView take_sized(std::size_t limit);
  std::string read_text(std::size_t limit) { return std::string(as_text(take_sized(limit))); }
  Digest read_digest();
  Uuid read_uuid();

  std::size_t remaining() const { return rest_.size(); }
  bool failed() const { return failed_; }
  // True if everything was read and nothing was short.
  bool complete() const { return !failed_ && rest_.empty(); }

 private:
  ByteView rest_;
  bool failed_ = false;
};

class ByteWriter {
 public:
  template <std::integral Number>
  void write(Number value) {
    write_bytes({reinterpret_cast<const std::byte*>(&value), sizeof value});
  }
  void write_bytes(ByteView bytes) { data_.insert(data_.end(), bytes.begin(), bytes.end()); }
  // A u32 length, then the bytes.
  void write_sized(ByteView bytes);
  void write_text(std::string_view text) { write_sized(as_bytes(text)); }
  void write_digest(const Digest& digest) { write_bytes(digest.bytes); }
  void write_uuid(const Uuid& uuid) { write_bytes(uuid.bytes); }

  std::size_t size() const { return data_.size(); }
  ByteView view() const { return data_; }
  Bytes take() { return std::move(data_); }

 private:
  Bytes data_;
};

}  // namespace icbd
