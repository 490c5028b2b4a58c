#include "icbd/sendstream/decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#include "icbd/base/limits.h"

#include "attribute_reader.h"
#include "command_fields.h"
#include "wire.h"

namespace icbd::sendstream {
namespace {

struct CommandHeader {
  std::uint32_t length;
  std::uint16_t type;
  std::uint32_t checksum;
};

CommandHeader read_command_header(ByteView data) {
  ByteReader reader(data);
  CommandHeader header{};
  header.length = reader.read<std::uint32_t>();
  header.type = reader.read<std::uint16_t>();
  header.checksum = reader.read<std::uint32_t>();
  return header;
}

template <typename Alternative>
Command read_alternative(AttributeReader& attributes) {
  Alternative alternative;
  fields(attributes, alternative);
  return alternative;
}

using ReadFunction = Command (*)(AttributeReader&);

template <std::size_t... Indexes>
constexpr auto make_read_functions(std::index_sequence<Indexes...>) {
  return std::array<ReadFunction, sizeof...(Indexes)>{
      read_alternative<std::variant_alternative_t<Indexes, Command>>...};
}

// In the order of the alternatives of Command, as wire::commands is.
constexpr auto read_functions =
    make_read_functions(std::make_index_sequence<std::variant_size_v<Command>>());

Result<Command> read_command(std::uint16_t type, ByteView attributes, std::uint32_t version) {
  const auto* const info = std::ranges::find(wire::commands, static_cast<wire::CommandType>(type),
                                             &wire::CommandInfo::type);
  if (info == wire::commands.end() || info->since_version > version)
    return fail(ErrorCode::unsupported,
                fmt::format("command {} is unknown in version {}", type, version));
  AttributeReader reader(attributes, version);
  Command command = read_functions[static_cast<std::size_t>(info - wire::commands.begin())](reader);
  if (auto status = reader.finish(); !status)
    return std::unexpected(status.error().with_context(info->name));
  return command;
}

}  // namespace

void Decoder::feed(ByteView data) {
  if (failure_) return;
  const std::size_t rest = buffer_.size() - consumed_;
  // Moving the rest only when it is the smaller part keeps the moved bytes below the fed ones,
  // whatever the pieces' sizes are.
  if (rest <= consumed_) {
    buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(consumed_));
    consumed_ = 0;
  }
  buffer_.insert(buffer_.end(), data.begin(), data.end());
}

Result<std::optional<Command>> Decoder::next() {
  if (failure_) return std::unexpected(*failure_);
  wrong_command_ = 0;
  auto command = decode_next();
  if (!command) {
    failure_ = command.error().with_context(fmt::format("send stream, byte {}", position_));
    return std::unexpected(*failure_);
  }
  wrong_command_ = 0;
  return command;
}

bool Decoder::pass_over() {
  if (!failure_ || wrong_command_ == 0) return false;
  consumed_ += wrong_command_;
  position_ += std::exchange(wrong_command_, 0);
  failure_.reset();
  return true;
}

std::size_t Decoder::missing() const {
  if (ended_ || failure_) return 0;
  const ByteView fed = rest();
  std::size_t wanted = version_ == 0 ? wire::stream_header_size : wire::command_header_size;
  if (version_ != 0 && fed.size() >= wanted)
    wanted += std::min<std::size_t>(read_command_header(fed).length, limits::sendstream_command);
  return wanted - std::min(wanted, fed.size());
}

Status Decoder::finish() const {
  if (failure_) return std::unexpected(*failure_);
  if (!ended_)
    return fail(ErrorCode::corrupt,
                fmt::format("send stream, byte {}: it stops before its end command", position_));
  if (consumed_ < buffer_.size())
    return fail(ErrorCode::corrupt,
                fmt::format("send stream, byte {}: {} bytes after the end command", position_,
                            buffer_.size() - consumed_));
  return {};
}

Result<bool> Decoder::decode_header() {
  const ByteView rest = ByteView(buffer_).subspan(consumed_);
  const std::string_view start = as_text(rest.first(std::min(rest.size(), wire::magic.size())));
  if (!wire::magic.starts_with(start))
    return fail(ErrorCode::corrupt, "this is no BTRFS send stream");
  if (rest.size() < wire::stream_header_size) return false;
  const auto version = ByteReader(rest.subspan(wire::magic.size())).read<std::uint32_t>();
  if (version < 1 || version > wire::newest_version)
    return fail(ErrorCode::unsupported, fmt::format("stream version {}; versions 1 to {} are known",
                                                    version, wire::newest_version));
  version_ = version;
  consumed_ += wire::stream_header_size;
  position_ += wire::stream_header_size;
  return true;
}

Result<std::optional<Command>> Decoder::decode_next() {
  if (version_ == 0) {
    ICBD_ASSIGN(const bool complete, decode_header());
    if (!complete) return std::nullopt;
  }
  const ByteView rest = ByteView(buffer_).subspan(consumed_);
  if (ended_ && !rest.empty()) return fail(ErrorCode::corrupt, "bytes after the end command");
  if (rest.size() < wire::command_header_size) return std::nullopt;
  const CommandHeader header = read_command_header(rest);
  if (header.length > limits::sendstream_command)
    return fail(ErrorCode::corrupt, fmt::format("a command of {} bytes; the limit is {}",
                                                header.length, limits::sendstream_command));
  const std::size_t size = wire::command_header_size + header.length;
  if (rest.size() < size) return std::nullopt;
  wrong_command_ = size;  // until it has proved right
  const ByteView bytes = rest.first(size);
  if (wire::checksum(bytes) != header.checksum)
    return fail(ErrorCode::corrupt, "a command's checksum does not match");
  ICBD_ASSIGN(Command command,
              read_command(header.type, bytes.subspan(wire::command_header_size), version_));
  consumed_ += size;
  position_ += size;
  ended_ = std::holds_alternative<End>(command);
  return std::optional<Command>(std::move(command));
}

}  // namespace icbd::sendstream
