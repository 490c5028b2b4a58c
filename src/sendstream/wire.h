// The numbers of a send stream on the wire.
//
// Source: enum btrfs_send_cmd, the attribute enum and struct btrfs_stream_header, btrfs_cmd_header
// and btrfs_tlv_header in fs/btrfs/send.h of Linux 6.18. All numbers are little-endian.
//   stream  = "btrfs-stream\0", u32 version, command…
//   command = u32 length of the attributes, u16 type, u32 CRC32C, attribute…
//   attribute = u16 type, u16 length, value; from version 2 on `data` is the last attribute of its
//               command and has no length: it takes what is left of the command
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <variant>

#include "icbd/base/bytes.h"
#include "icbd/sendstream/command.h"

namespace icbd::sendstream::wire {

inline constexpr std::string_view magic{"btrfs-stream\0", 13};
inline constexpr std::size_t stream_header_size = magic.size() + sizeof(std::uint32_t);
inline constexpr std::size_t command_header_size = 10;
inline constexpr std::uint32_t newest_version = 3;

// Linux: FS_VERITY_MAX_SALT_SIZE and FS_VERITY_MAX_SIGNATURE_SIZE (fs/verity/fsverity_private.h).
inline constexpr std::size_t verity_salt_length = 32;
inline constexpr std::size_t verity_signature_length = 16128;

enum class CommandType : std::uint16_t {
  subvolume = 1,
  snapshot = 2,
  make_file = 3,
  make_directory = 4,
  make_node = 5,
  make_fifo = 6,
  make_socket = 7,
  make_symlink = 8,
  rename = 9,
  link = 10,
  unlink = 11,
  remove_directory = 12,
  set_xattr = 13,
  remove_xattr = 14,
  write = 15,
  clone = 16,
  truncate = 17,
  change_mode = 18,
  change_owner = 19,
  set_times = 20,
  end = 21,
  update_extent = 22,
  fallocate = 23,
  file_attributes = 24,
  encoded_write = 25,
  enable_verity = 26,
};

enum class Attribute : std::uint16_t {
  uuid = 1,
  transaction_id = 2,
  inode = 3,
  size = 4,
  mode = 5,
  uid = 6,
  gid = 7,
  device = 8,
  changed = 9,
  modified = 10,
  accessed = 11,
  created = 12,
  xattr_name = 13,
  xattr_value = 14,
  path = 15,
  path_to = 16,
  path_link = 17,
  file_offset = 18,
  data = 19,
  clone_uuid = 20,
  clone_transaction_id = 21,
  clone_path = 22,
  clone_offset = 23,
  clone_length = 24,
  fallocate_mode = 25,
  file_attributes = 26,
  unencoded_file_length = 27,
  unencoded_length = 28,
  unencoded_offset = 29,
  compression = 30,
  encryption = 31,
  verity_algorithm = 32,
  verity_block_size = 33,
  verity_salt = 34,
  verity_signature = 35,
};
inline constexpr std::size_t attribute_count = 36;  // 0 is not used

// The attribute's name for error messages, for example "clone_path".
std::string_view attribute_name(Attribute attribute);

struct CommandInfo {
  CommandType type;
  std::string_view name;        // as the kernel spells it, in lower case
  std::uint32_t since_version;  // of the stream
};

// In the order of the alternatives of Command.
inline constexpr std::array<CommandInfo, std::variant_size_v<Command>> commands = {{
    {CommandType::subvolume, "subvol", 1},
    {CommandType::snapshot, "snapshot", 1},
    {CommandType::make_file, "mkfile", 1},
    {CommandType::make_directory, "mkdir", 1},
    {CommandType::make_node, "mknod", 1},
    {CommandType::make_fifo, "mkfifo", 1},
    {CommandType::make_socket, "mksock", 1},
    {CommandType::make_symlink, "symlink", 1},
    {CommandType::rename, "rename", 1},
    {CommandType::link, "link", 1},
    {CommandType::unlink, "unlink", 1},
    {CommandType::remove_directory, "rmdir", 1},
    {CommandType::set_xattr, "set_xattr", 1},
    {CommandType::remove_xattr, "remove_xattr", 1},
    {CommandType::write, "write", 1},
    {CommandType::encoded_write, "encoded_write", 2},
    {CommandType::clone, "clone", 1},
    {CommandType::truncate, "truncate", 1},
    {CommandType::change_mode, "chmod", 1},
    {CommandType::change_owner, "chown", 1},
    {CommandType::set_times, "utimes", 1},
    {CommandType::update_extent, "update_extent", 1},
    {CommandType::fallocate, "fallocate", 2},
    {CommandType::file_attributes, "fileattr", 2},
    {CommandType::enable_verity, "enable_verity", 3},
    {CommandType::end, "end", 1},
}};

inline const CommandInfo& info(const Command& command) {
  return commands[command.index()];
}

// CRC32C of a whole command, its checksum field taken as zero; seed 0, not inverted. At least
// command_header_size bytes.
std::uint32_t checksum(ByteView command);

}  // namespace icbd::sendstream::wire
