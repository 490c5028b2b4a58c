// Commands of every kind with random members, up to the limits of each.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <utility>

#include "icbd/base/bytes.h"
#include "icbd/base/limits.h"
#include "icbd/sendstream/command.h"

#include "command_fields.h"
#include "wire.h"

namespace icbd::sendstream {

// Fills the members through command_fields.h, as AttributeReader does, so that no attribute is left
// out. Lifecycle: commands point into its data; they are valid as long as it is. The same commands
// for the same seed.
class RandomCommands {
 public:
  explicit RandomCommands(std::uint64_t seed) : random_(seed), data_(limits::sendstream_command) {
    for (std::byte& byte : data_) byte = static_cast<std::byte>(random_());
  }

  Command make() {
    return make_alternative(below(std::variant_size_v<Command>),
                            std::make_index_sequence<std::variant_size_v<Command>>());
  }

  // As many random bits as there are, all sizes alike.
  std::uint64_t number() { return random_() >> (random_() % 64); }
  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }

  // For command_fields.h.
  void number(wire::Attribute attribute, auto& value) {
    using wire::Attribute;
    constexpr std::array ranges = {Attribute::file_offset, Attribute::size, Attribute::clone_offset,
                                   Attribute::clone_length};
    // A range ends where 64 bits can say.
    const bool in_range = std::ranges::find(ranges, attribute) != ranges.end();
    value = static_cast<std::remove_reference_t<decltype(value)>>(number() >> (in_range ? 1 : 0));
  }
  void optional_number(wire::Attribute attribute, auto& value) { number(attribute, value); }
  template <typename Number>
  void optional_number(wire::Attribute attribute, std::optional<Number>& value) {
    if (below(2) == 0) number(attribute, value.emplace());
  }
  void inode(wire::Attribute, InodeNumber& value) { value = InodeNumber(number()); }
  void uuid(wire::Attribute, Uuid& value) {
    for (std::byte& byte : value.bytes) byte = static_cast<std::byte>(random_());
  }
  void time(wire::Attribute, Timestamp& value) {
    value = {static_cast<std::int64_t>(random_()),
             static_cast<std::uint32_t>(below(1'000'000'000))};
  }
  void time_from_version_2(wire::Attribute attribute, std::optional<Timestamp>& value) {
    time(attribute, value.emplace());
  }
  void path(wire::Attribute attribute, std::string& value) {
    text(attribute, value, limits::path_length);
  }
  void text(wire::Attribute, std::string& value, std::size_t limit) {
    value.resize(length(limit));
    for (char& character : value) character = static_cast<char>(1 + below(255));  // no NUL
  }
  void bytes(wire::Attribute, Bytes& value, std::size_t limit) {
    // Beside the value there are a name, a path, and a length of 16 bits.
    const ByteView random = view(std::min<std::size_t>(limit, 65535));
    value.assign(random.begin(), random.end());
  }
  void data(wire::Attribute, ByteView& value) { value = view(60'000); }
  void check_range(wire::Attribute, ByteRange) {}

 private:
  template <std::size_t... Indexes>
  Command make_alternative(std::size_t index, std::index_sequence<Indexes...>) {
    Command command;
    static_cast<void>(((Indexes == index && (command = filled<Indexes>(), true)) || ...));
    return command;
  }
  template <std::size_t Index>
  Command filled() {
    std::variant_alternative_t<Index, Command> alternative;
    fields(*this, alternative);
    return alternative;
  }

  std::size_t length(std::size_t limit) {
    const std::array<std::size_t, 4> lengths = {0, 1, limit, below(limit + 1)};
    return lengths[below(lengths.size())];
  }
  ByteView view(std::size_t limit) {
    const std::size_t size = length(limit);
    return ByteView(data_).subspan(below(data_.size() - size), size);
  }

  std::mt19937_64 random_;
  Bytes data_;
};

}  // namespace icbd::sendstream
