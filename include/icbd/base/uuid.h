// UUID (identity of versions and repositories): 16 bytes in RFC 4122 order.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>

#include "icbd/base/error.h"

namespace icbd {

struct Uuid {
  std::array<std::byte, 16> bytes{};

  auto operator<=>(const Uuid&) const = default;
  // True for the all-zero UUID, which stands for "none" in BTRFS and in ours.
  bool is_null() const { return *this == Uuid{}; }

  // "01234567-89ab-cdef-0123-456789abcdef"
  std::string to_string() const;
  static Result<Uuid> parse(std::string_view text);
  // Version 4, from getrandom(2).
  static Uuid random();
};

}  // namespace icbd

template <>
struct std::hash<icbd::Uuid> {
  std::size_t operator()(const icbd::Uuid& uuid) const noexcept {
    std::uint64_t head;
    std::memcpy(&head, uuid.bytes.data(), sizeof head);
    return static_cast<std::size_t>(head);
  }
};
