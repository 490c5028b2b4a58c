#include "attribute_writer.h"

#include <fmt/format.h>

#include <cstring>
#include <limits>

#include "icbd/base/limits.h"

namespace icbd::sendstream {

using wire::Attribute;

AttributeWriter::AttributeWriter(wire::CommandType type, std::uint32_t stream_version)
    : stream_version_(stream_version) {
  command_.write(std::uint32_t{0});  // length and checksum: finish() fills them in
  command_.write(static_cast<std::uint16_t>(type));
  command_.write(std::uint32_t{0});
}

void AttributeWriter::uuid(Attribute attribute, const Uuid& value) {
  attribute_header(attribute, value.bytes.size());
  command_.write_uuid(value);
}

void AttributeWriter::time(Attribute attribute, const Timestamp& value) {
  attribute_header(attribute, sizeof value.seconds + sizeof value.nanoseconds);
  command_.write(value.seconds);
  command_.write(value.nanoseconds);
}

void AttributeWriter::time_from_version_2(Attribute attribute,
                                          const std::optional<Timestamp>& value) {
  constexpr std::uint32_t without = 1, always_with = 3;
  if (stream_version_ == without) return;
  if (value || stream_version_ >= always_with) time(attribute, value.value_or(Timestamp{}));
}

void AttributeWriter::path(Attribute attribute, const std::string& value) {
  text(attribute, value, limits::path_length);
}

void AttributeWriter::text(Attribute attribute, const std::string& value, std::size_t limit) {
  bytes(attribute, as_bytes(value), limit);
}

void AttributeWriter::bytes(Attribute attribute, ByteView value, std::size_t limit) {
  if (value.size() > limit) return set_too_large(attribute, value.size(), limit);
  attribute_header(attribute, value.size());
  command_.write_bytes(value);
}

void AttributeWriter::data(Attribute attribute, ByteView value) {
  if (value.size() > limits::sendstream_command)
    return set_too_large(attribute, value.size(), limits::sendstream_command);
  if (stream_version_ >= 2) {
    command_.write(static_cast<std::uint16_t>(attribute));
  } else {
    attribute_header(attribute, value.size());
  }
  command_.write_bytes(value);
}

Result<Bytes> AttributeWriter::finish() {
  if (problem_) return std::unexpected(*problem_);
  Bytes command = command_.take();
  const std::size_t length = command.size() - wire::command_header_size;
  if (length > limits::sendstream_command)
    return fail(ErrorCode::too_large, fmt::format("the attributes have {} bytes; the limit is {}",
                                                  length, limits::sendstream_command));
  const auto length_field = static_cast<std::uint32_t>(length);
  std::memcpy(command.data(), &length_field, sizeof length_field);
  const std::uint32_t checksum = wire::checksum(command);
  std::memcpy(command.data() + wire::command_header_size - sizeof checksum, &checksum,
              sizeof checksum);
  return command;
}

void AttributeWriter::attribute_header(Attribute attribute, std::size_t length) {
  constexpr std::size_t limit = std::numeric_limits<std::uint16_t>::max();
  if (length > limit) return set_too_large(attribute, length, limit);
  command_.write(static_cast<std::uint16_t>(attribute));
  command_.write(static_cast<std::uint16_t>(length));
}

void AttributeWriter::set_too_large(Attribute attribute, std::size_t length, std::size_t limit) {
  if (problem_) return;
  problem_.emplace(ErrorCode::too_large,
                   fmt::format("attribute {} has {} bytes; the limit is {}",
                               wire::attribute_name(attribute), length, limit));
}

}  // namespace icbd::sendstream
