// Reads the attributes of one command, each exactly once.
//
// Lifecycle: construct over the command's attributes, which the views of data() then point into;
// call one reader per expected attribute (command_fields.h does); finish(). The first problem
// counts: later calls do nothing, so that a whole command is read and checked once.
// Guarantees: every attribute has been seen at most once and taken by exactly one call; values
// have their exact or bounded size; texts hold no NUL, which a system call would cut them at.
#pragma once

#include <array>
#include <bitset>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>

#include "icbd/base/bytes.h"
#include "icbd/base/error.h"
#include "icbd/base/types.h"
#include "icbd/base/uuid.h"

#include "wire.h"

namespace icbd::sendstream {

class AttributeReader {
 public:
  AttributeReader(ByteView attributes, std::uint32_t stream_version);

  template <std::integral Number>
  void number(wire::Attribute attribute, Number& value) {
    const ByteView field = take_exactly(attribute, sizeof value);
    if (!field.empty()) std::memcpy(&value, field.data(), sizeof value);
  }
  // Keeps its value if the attribute is not there.
  template <std::integral Number>
  void optional_number(wire::Attribute attribute, Number& value) {
    if (has(attribute)) number(attribute, value);
  }
  template <std::integral Number>
  void optional_number(wire::Attribute attribute, std::optional<Number>& value) {
    if (has(attribute)) number(attribute, value.emplace());
  }
  void inode(wire::Attribute attribute, InodeNumber& value);
  void uuid(wire::Attribute attribute, Uuid& value);
  void time(wire::Attribute attribute, Timestamp& value);
  // Not in version 1, perhaps in version 2, always in version 3.
  void time_from_version_2(wire::Attribute attribute, std::optional<Timestamp>& value);
  void path(wire::Attribute attribute, std::string& value);
  void text(wire::Attribute attribute, std::string& value, std::size_t limit);
  void bytes(wire::Attribute attribute, Bytes& value, std::size_t limit);
  // In place. Bounded by the command's own length.
  void data(wire::Attribute attribute, ByteView& value);
  // A range of a file ends where 64 bits can say.
  void check_range(wire::Attribute attribute, ByteRange range);

  // The first problem, or an attribute that nobody took.
  Status finish();

 private:
  bool has(wire::Attribute attribute) const { return unread_[index(attribute)]; }
  static std::size_t index(wire::Attribute attribute) {
    return static_cast<std::size_t>(attribute);
  }
  void parse(ByteView attributes);
  // Empty after an error.
  ByteView take(wire::Attribute attribute, std::size_t limit);
  ByteView take_exactly(wire::Attribute attribute, std::size_t size);
  void set_problem(ErrorCode code, std::string message);

  std::uint32_t stream_version_;
  std::array<ByteView, wire::attribute_count> values_{};
  std::bitset<wire::attribute_count> seen_;
  std::bitset<wire::attribute_count> unread_;
  std::optional<Error> problem_;
};

}  // namespace icbd::sendstream
