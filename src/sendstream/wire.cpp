#include "wire.h"

#include <isa-l/crc.h>

namespace icbd::sendstream::wire {
namespace {

constexpr std::size_t checksum_offset = 6;

std::uint32_t crc32c(ByteView data, std::uint32_t seed) {
  // ISA-L's interface is not const-correct; it only reads. A command fits an int by far.
  auto* bytes = const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(data.data()));
  return crc32_iscsi(bytes, static_cast<int>(data.size()), seed);
}

}  // namespace

std::string_view attribute_name(Attribute attribute) {
  static constexpr std::array<std::string_view, attribute_count> names = {
      "unspecified",
      "uuid",
      "transaction_id",
      "inode",
      "size",
      "mode",
      "uid",
      "gid",
      "device",
      "changed",
      "modified",
      "accessed",
      "created",
      "xattr_name",
      "xattr_value",
      "path",
      "path_to",
      "path_link",
      "file_offset",
      "data",
      "clone_uuid",
      "clone_transaction_id",
      "clone_path",
      "clone_offset",
      "clone_length",
      "fallocate_mode",
      "file_attributes",
      "unencoded_file_length",
      "unencoded_length",
      "unencoded_offset",
      "compression",
      "encryption",
      "verity_algorithm",
      "verity_block_size",
      "verity_salt",
      "verity_signature",
  };
  const auto number = static_cast<std::size_t>(attribute);
  return number < names.size() ? names[number] : "unknown";
}

std::uint32_t checksum(ByteView command) {
  static constexpr std::array<std::byte, sizeof(std::uint32_t)> zeros{};
  const std::uint32_t head = crc32c(command.first(checksum_offset), 0);
  return crc32c(command.subspan(command_header_size), crc32c(zeros, head));
}

}  // namespace icbd::sendstream::wire
