// SHA-256 digests: they name chunks, manifest pages and versions.
//
// Guarantees: sha256() is thread-safe and does not allocate on the heap per byte of input.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "icbd/base/error.h"

namespace icbd {

struct Digest {
  std::array<std::byte, 32> bytes{};

  auto operator<=>(const Digest&) const = default;
  // 64 lower-case hexadecimal digits.
  std::string to_string() const;
  static Result<Digest> parse(std::string_view hexadecimal);
};

Digest sha256(std::span<const std::byte> data);

// The digest of `length` zero bytes; length at most limits::chunk_size. That of a full chunk is
// computed once.
Digest sha256_of_zeros(std::size_t length);

}  // namespace icbd

template <>
struct std::hash<icbd::Digest> {
  std::size_t operator()(const icbd::Digest& digest) const noexcept {
    std::uint64_t head;  // a digest's bytes are evenly distributed: any eight will do
    std::memcpy(&head, digest.bytes.data(), sizeof head);
    return static_cast<std::size_t>(head);
  }
};
