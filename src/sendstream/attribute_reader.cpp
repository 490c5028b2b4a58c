#include "attribute_reader.h"

#include <fmt/format.h>

#include <utility>

#include "icbd/base/limits.h"

namespace icbd::sendstream {
namespace {

using wire::Attribute;

constexpr std::uint32_t nanoseconds_per_second = 1'000'000'000;

// The last attribute that a stream of this version may hold.
Attribute last_attribute(std::uint32_t stream_version) {
  switch (stream_version) {
    case 1:
      return Attribute::clone_length;
    case 2:
      return Attribute::encryption;
    default:
      return Attribute::verity_signature;
  }
}

}  // namespace

AttributeReader::AttributeReader(ByteView attributes, std::uint32_t stream_version)
    : stream_version_(stream_version) {
  parse(attributes);
}

void AttributeReader::parse(ByteView attributes) {
  ByteReader reader(attributes);
  while (reader.remaining() > 0 && !problem_) {
    const auto type = reader.read<std::uint16_t>();
    const auto attribute = static_cast<Attribute>(type);
    const bool known = type > 0 && attribute <= last_attribute(stream_version_);
    const bool takes_the_rest = stream_version_ >= 2 && attribute == Attribute::data;
    const std::size_t length =
        takes_the_rest ? reader.remaining() : std::size_t{reader.read<std::uint16_t>()};
    const ByteView value = reader.take(length);
    if (reader.failed()) {
      set_problem(ErrorCode::corrupt, fmt::format("attribute {} ({}) is longer than its command",
                                                  type, wire::attribute_name(attribute)));
    } else if (!known) {
      set_problem(ErrorCode::unsupported,
                  fmt::format("attribute {} is unknown in version {}", type, stream_version_));
    } else if (seen_[type]) {
      set_problem(ErrorCode::corrupt,
                  fmt::format("attribute {} is there twice", wire::attribute_name(attribute)));
    } else {
      values_[type] = value;
      seen_.set(type);
      unread_.set(type);
    }
  }
}

void AttributeReader::inode(Attribute attribute, InodeNumber& value) {
  std::uint64_t number_value = 0;
  number(attribute, number_value);
  value = InodeNumber(number_value);
}

void AttributeReader::uuid(Attribute attribute, Uuid& value) {
  const ByteView field = take_exactly(attribute, value.bytes.size());
  if (!field.empty()) std::memcpy(value.bytes.data(), field.data(), field.size());
}

void AttributeReader::time(Attribute attribute, Timestamp& value) {
  ByteReader field(take_exactly(attribute, sizeof(std::int64_t) + sizeof(std::uint32_t)));
  const auto seconds = field.read<std::int64_t>();
  const auto nanoseconds = field.read<std::uint32_t>();
  if (nanoseconds >= nanoseconds_per_second)
    set_problem(ErrorCode::corrupt, fmt::format("attribute {} has {} nanoseconds",
                                                wire::attribute_name(attribute), nanoseconds));
  value = {seconds, nanoseconds};
}

void AttributeReader::time_from_version_2(Attribute attribute, std::optional<Timestamp>& value) {
  constexpr std::uint32_t without = 1, always_with = 3;
  if (!has(attribute) && stream_version_ < always_with) return;
  if (has(attribute) && stream_version_ == without)
    return set_problem(ErrorCode::corrupt, fmt::format("attribute {} in a stream of version 1",
                                                       wire::attribute_name(attribute)));
  time(attribute, value.emplace());
}

void AttributeReader::path(Attribute attribute, std::string& value) {
  text(attribute, value, limits::path_length);
}

void AttributeReader::text(Attribute attribute, std::string& value, std::size_t limit) {
  const std::string_view field = as_text(take(attribute, limit));
  if (field.find('\0') != std::string_view::npos)
    set_problem(ErrorCode::corrupt,
                fmt::format("attribute {} holds a NUL byte", wire::attribute_name(attribute)));
  value.assign(field);
}

void AttributeReader::bytes(Attribute attribute, Bytes& value, std::size_t limit) {
  const ByteView field = take(attribute, limit);
  value.assign(field.begin(), field.end());
}

void AttributeReader::data(Attribute attribute, ByteView& value) {
  value = take(attribute, limits::sendstream_command);
}

void AttributeReader::check_range(Attribute attribute, ByteRange range) {
  if (range.end() < range.offset)
    set_problem(ErrorCode::corrupt,
                fmt::format("attribute {}: offset {} and length {} are over 64 bits",
                            wire::attribute_name(attribute), range.offset, range.length));
}

Status AttributeReader::finish() {
  if (problem_) return std::unexpected(*problem_);
  if (unread_.none()) return {};
  std::size_t first = 0;
  while (!unread_[first]) ++first;
  return fail(ErrorCode::unsupported,
              fmt::format("attribute {} does not belong to this command",
                          wire::attribute_name(static_cast<Attribute>(first))));
}

ByteView AttributeReader::take(Attribute attribute, std::size_t limit) {
  if (problem_) return {};
  if (!has(attribute)) {
    set_problem(ErrorCode::corrupt,
                fmt::format("attribute {} is missing", wire::attribute_name(attribute)));
    return {};
  }
  unread_.reset(index(attribute));
  const ByteView value = values_[index(attribute)];
  if (value.size() <= limit) return value;
  set_problem(ErrorCode::corrupt,
              fmt::format("attribute {} has {} bytes; the limit is {}",
                          wire::attribute_name(attribute), value.size(), limit));
  return {};
}

ByteView AttributeReader::take_exactly(Attribute attribute, std::size_t size) {
  const ByteView value = take(attribute, size);
  if (problem_ || value.size() == size) return value;
  set_problem(ErrorCode::corrupt, fmt::format("attribute {} has {} bytes instead of {}",
                                              wire::attribute_name(attribute), value.size(), size));
  return {};
}

void AttributeReader::set_problem(ErrorCode code, std::string message) {
  if (!problem_) problem_.emplace(code, std::move(message));
}

}  // namespace icbd::sendstream
