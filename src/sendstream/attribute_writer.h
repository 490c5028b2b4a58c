// Writes the attributes of one command: AttributeReader's inverse.
//
// Lifecycle: construct, one call per attribute (command_fields.h does), then finish() takes the
// finished command. What the reader would refuse for its size is too_large here.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>

#include "icbd/base/bytes.h"
#include "icbd/base/error.h"
#include "icbd/base/types.h"
#include "icbd/base/uuid.h"

#include "wire.h"

namespace icbd::sendstream {

class AttributeWriter {
 public:
  AttributeWriter(wire::CommandType type, std::uint32_t stream_version);

  template <std::integral Number>
  void number(wire::Attribute attribute, Number value) {
    attribute_header(attribute, sizeof value);
    command_.write(value);
  }
  template <std::integral Number>
  void optional_number(wire::Attribute attribute, Number value) {
    number(attribute, value);
  }
  template <std::integral Number>
  void optional_number(wire::Attribute attribute, const std::optional<Number>& value) {
    if (value) number(attribute, *value);
  }
  void inode(wire::Attribute attribute, InodeNumber value) { number(attribute, value.value()); }
  void uuid(wire::Attribute attribute, const Uuid& value);
  void time(wire::Attribute attribute, const Timestamp& value);
  void time_from_version_2(wire::Attribute attribute, const std::optional<Timestamp>& value);
  void path(wire::Attribute attribute, const std::string& value);
  void text(wire::Attribute attribute, const std::string& value, std::size_t limit);
  void bytes(wire::Attribute attribute, ByteView value, std::size_t limit);
  void data(wire::Attribute attribute, ByteView value);
  void check_range(wire::Attribute, ByteRange) {}

  // The whole command, header and checksum included.
  Result<Bytes> finish();

 private:
  void attribute_header(wire::Attribute attribute, std::size_t length);
  void set_too_large(wire::Attribute attribute, std::size_t length, std::size_t limit);

  std::uint32_t stream_version_;
  ByteWriter command_;
  std::optional<Error> problem_;
};

}  // namespace icbd::sendstream
