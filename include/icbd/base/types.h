// Strong types for the numbers that cross folder boundaries.
//
// Purpose: a file index cannot be passed where a version number is meant. Each is a plain number
// in memory; value() gives it back. Offsets and lengths travel together as ByteRange.
// Guarantees: trivially copyable, ordered, hashable with std::hash. Units: bytes.
#pragma once

#include <algorithm>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace icbd {

template <typename Tag, typename Number>
class StrongNumber {
 public:
  constexpr StrongNumber() = default;
  constexpr explicit StrongNumber(Number value) : value_(value) {}
  constexpr Number value() const { return value_; }
  constexpr auto operator<=>(const StrongNumber&) const = default;

 private:
  Number value_ = 0;
};

// The number of a version within its image: 1, 2, …
using VersionNumber = StrongNumber<struct VersionNumberTag, std::uint32_t>;
// The number of a version within one node's catalog; never reused. Below 2^24 in node ids.
using VersionSerial = StrongNumber<struct VersionSerialTag, std::uint32_t>;
// The position of an entry in a manifest, counted from 0 (the root directory).
using FileIndex = StrongNumber<struct FileIndexTag, std::uint32_t>;
// The position of a chunk in a file, counted from 0.
using ChunkIndex = StrongNumber<struct ChunkIndexTag, std::uint32_t>;
// An inode number within one subvolume.
using InodeNumber = StrongNumber<struct InodeNumberTag, std::uint64_t>;
// The id of a subvolume's tree within its filesystem.
using SubvolumeId = StrongNumber<struct SubvolumeIdTag, std::uint64_t>;

// Half-open range of bytes in a file: [offset, offset + length).
struct ByteRange {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;

  constexpr std::uint64_t end() const { return offset + length; }
  constexpr bool empty() const { return length == 0; }
  constexpr bool operator==(const ByteRange&) const = default;
};

// The part that two ranges share; empty (length 0) if they do not meet.
constexpr ByteRange intersect(ByteRange a, ByteRange b) {
  const std::uint64_t begin = std::max(a.offset, b.offset);
  const std::uint64_t end = std::min(a.end(), b.end());
  return end > begin ? ByteRange{begin, end - begin} : ByteRange{begin, 0};
}

// Seconds and nanoseconds since the Unix epoch; nanoseconds are 0 … 999,999,999.
struct Timestamp {
  std::int64_t seconds = 0;
  std::uint32_t nanoseconds = 0;
  constexpr auto operator<=>(const Timestamp&) const = default;
};

}  // namespace icbd

template <typename Tag, typename Number>
struct std::hash<icbd::StrongNumber<Tag, Number>> {
  std::size_t operator()(icbd::StrongNumber<Tag, Number> number) const noexcept {
    return std::hash<Number>{}(number.value());
  }
};
