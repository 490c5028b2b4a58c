#include "icbd/sendstream/dump.h"

#include <fmt/format.h>

#include <string>

#include "quote.h"
#include "wire.h"

namespace icbd::sendstream {
namespace {

std::string range(ByteRange value) {
  return fmt::format("offset={} length={}", value.offset, value.length);
}

std::string time(Timestamp value) {
  return fmt::format("{}.{:09}", value.seconds, value.nanoseconds);
}

std::string describe(const Subvolume& command) {
  return fmt::format("{} uuid={} transaction={}", quote_path(command.path),
                     command.uuid.to_string(), command.transaction_id);
}
std::string describe(const Snapshot& command) {
  return fmt::format("{} uuid={} transaction={} parent_uuid={} parent_transaction={}",
                     quote_path(command.path), command.uuid.to_string(), command.transaction_id,
                     command.parent_uuid.to_string(), command.parent_transaction_id);
}
template <typename Created>
  requires requires(const Created& command) { command.inode; } &&
           (!requires(const Created& command) { command.device; })
std::string describe(const Created& command) {
  return fmt::format("{} inode={}", quote_path(command.path), command.inode.value());
}
template <typename Node>
  requires requires(const Node& command) { command.inode, command.device; }
std::string describe(const Node& command) {
  return fmt::format("{} inode={} device={:#x} mode={:#o}", quote_path(command.path),
                     command.inode.value(), command.device, command.mode);
}
std::string describe(const MakeSymlink& command) {
  return fmt::format("{} inode={} target={}", quote_path(command.path), command.inode.value(),
                     quote(command.target));
}
std::string describe(const Rename& command) {
  return fmt::format("{} to={}", quote_path(command.path), quote_path(command.to));
}
std::string describe(const Link& command) {
  return fmt::format("{} existing={}", quote_path(command.path), quote_path(command.existing));
}
std::string describe(const Unlink& command) {
  return quote_path(command.path);
}
std::string describe(const RemoveDirectory& command) {
  return quote_path(command.path);
}
std::string describe(const SetXattr& command) {
  return fmt::format("{} name={} length={}", quote_path(command.path), quote(command.name),
                     command.value.size());
}
std::string describe(const RemoveXattr& command) {
  return fmt::format("{} name={}", quote_path(command.path), quote(command.name));
}
std::string describe(const Write& command) {
  return fmt::format("{} {}", quote_path(command.path),
                     range({command.offset, command.data.size()}));
}
std::string describe(const EncodedWrite& command) {
  const std::string encryption =
      command.encryption ? fmt::format(" encryption={}", *command.encryption) : "";
  return fmt::format(
      "{} {} unencoded_file_length={} unencoded_length={} unencoded_offset={} compression={}{}",
      quote_path(command.path), range({command.offset, command.data.size()}),
      command.unencoded_file_length, command.unencoded_length, command.unencoded_offset,
      command.compression, encryption);
}
std::string describe(const Clone& command) {
  return fmt::format("{} {} source={} source_offset={} source_uuid={} source_transaction={}",
                     quote_path(command.path), range(command.range),
                     quote_path(command.source_path), command.source_offset,
                     command.source_uuid.to_string(), command.source_transaction_id);
}
std::string describe(const Truncate& command) {
  return fmt::format("{} size={}", quote_path(command.path), command.size);
}
std::string describe(const ChangeMode& command) {
  return fmt::format("{} mode={:#o}", quote_path(command.path), command.mode);
}
std::string describe(const ChangeOwner& command) {
  return fmt::format("{} uid={} gid={}", quote_path(command.path), command.uid, command.gid);
}
std::string describe(const SetTimes& command) {
  const std::string created = command.created ? " created=" + time(*command.created) : "";
  return fmt::format("{} accessed={} modified={} changed={}{}", quote_path(command.path),
                     time(command.accessed), time(command.modified), time(command.changed),
                     created);
}
std::string describe(const UpdateExtent& command) {
  return fmt::format("{} {}", quote_path(command.path), range(command.range));
}
std::string describe(const Fallocate& command) {
  return fmt::format("{} mode={:#x} {}", quote_path(command.path), command.mode,
                     range(command.range));
}
std::string describe(const FileAttributes& command) {
  return fmt::format("{} attributes={:#x}", quote_path(command.path), command.attributes);
}
std::string describe(const EnableVerity& command) {
  return fmt::format("{} algorithm={} block_size={} salt_length={} signature_length={}",
                     quote_path(command.path), command.algorithm, command.block_size,
                     command.salt.size(), command.signature.size());
}
std::string describe(const End&) {
  return {};
}

}  // namespace

std::string command_name(const Command& command) {
  return std::string(wire::info(command).name);
}

std::string dump(const Command& command) {
  const std::string arguments =
      std::visit([](const auto& alternative) { return describe(alternative); }, command);
  return arguments.empty() ? command_name(command) : command_name(command) + " " + arguments;
}

}  // namespace icbd::sendstream
