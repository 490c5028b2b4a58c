#include "icbd/sendstream/encoder.h"

#include <fmt/format.h>

#include <utility>

#include "attribute_writer.h"
#include "command_fields.h"
#include "wire.h"

namespace icbd::sendstream {

Bytes encode_header(std::uint32_t version) {
  ByteWriter header;
  header.write_bytes(as_bytes(wire::magic));
  header.write(version);
  return header.take();
}

Result<Bytes> encode(const Command& command, std::uint32_t version) {
  const wire::CommandInfo& info = wire::info(command);
  if (version > wire::newest_version || version < info.since_version)
    return fail(ErrorCode::unsupported,
                fmt::format("{}: not a command of stream version {}", info.name, version));
  AttributeWriter writer(info.type, version);
  std::visit([&writer](const auto& alternative) { fields(writer, alternative); }, command);
  auto encoded = writer.finish();
  if (!encoded) return std::unexpected(encoded.error().with_context(info.name));
  return encoded;
}

}  // namespace icbd::sendstream
