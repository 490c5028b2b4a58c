// Which attributes each command has: one list for reading and for writing.
//
// fields(codec, command) calls the codec once per attribute, in the order in which the kernel
// writes them (fs/btrfs/send.c of Linux 6.18). AttributeReader fills the command's members,
// AttributeWriter writes them out. A codec remembers its first error.
#pragma once

#include <concepts>
#include <type_traits>

#include "icbd/base/limits.h"
#include "icbd/sendstream/command.h"

#include "wire.h"

namespace icbd::sendstream {

// A `Type` that is const for writers and not for readers.
template <typename Deduced, typename Type>
concept Maybe = std::same_as<std::remove_const_t<Deduced>, Type>;

using wire::Attribute;

void fields(auto& codec, Maybe<Subvolume> auto& command) {
  codec.path(Attribute::path, command.path);
  codec.uuid(Attribute::uuid, command.uuid);
  codec.number(Attribute::transaction_id, command.transaction_id);
}

void fields(auto& codec, Maybe<Snapshot> auto& command) {
  codec.path(Attribute::path, command.path);
  codec.uuid(Attribute::uuid, command.uuid);
  codec.number(Attribute::transaction_id, command.transaction_id);
  codec.uuid(Attribute::clone_uuid, command.parent_uuid);
  codec.number(Attribute::clone_transaction_id, command.parent_transaction_id);
}

void fields(auto& codec, Maybe<MakeFile> auto& command) {
  codec.path(Attribute::path, command.path);
  codec.inode(Attribute::inode, command.inode);
}

void fields(auto& codec, Maybe<MakeDirectory> auto& command) {
  codec.path(Attribute::path, command.path);
  codec.inode(Attribute::inode, command.inode);
}

void fields(auto& codec, Maybe<MakeNode> auto& command) {
  codec.path(Attribute::path, command.path);
  codec.inode(Attribute::inode, command.inode);
  codec.number(Attribute::device, command.device);
  codec.number(Attribute::mode, command.mode);
}

// The kernel gives fifos and sockets a device and a mode too; the command says it all.
void fields(auto& codec, Maybe<MakeFifo> auto& command) {
  codec.path(Attribute::path, command.path);
  codec.inode(Attribute::inode, command.inode);
  codec.optional_number(Attribute::device, command.device);
  codec.optional_number(Attribute::mode, command.mode);
}

void fields(auto& codec, Maybe<MakeSocket> auto& command) {
  codec.path(Attribute::path, command.path);
  codec.inode(Attribute::inode, command.inode);
  codec.optional_number(Attribute::device, command.device);
  codec.optional_number(Attribute::mode, command.mode);
}

void fields(auto& codec, Maybe<MakeSymlink> auto& command) {
  codec.path(Attribute::path, command.path);
  codec.inode(Attribute::inode, command.inode);
  codec.path(Attribute::path_link, command.target);
}

void fields(auto& codec, Maybe<Rename> auto& command) {
  codec.path(Attribute::path, command.path);
  codec.path(Attribute::path_to, command.to);
}

void fields(auto& codec, Maybe<Link> auto& command) {
  codec.path(Attribute::path, command.path);
  codec.path(Attribute::path_link, command.existing);
}

void fields(auto& codec, Maybe<Unlink> auto& command) {
  codec.path(Attribute::path, command.path);
}

void fields(auto& codec, Maybe<RemoveDirectory> auto& command) {
  codec.path(Attribute::path, command.path);
}

void fields(auto& codec, Maybe<SetXattr> auto& command) {
  codec.path(Attribute::path, command.path);
  codec.text(Attribute::xattr_name, command.name, limits::xattr_name_length);
  codec.bytes(Attribute::xattr_value, command.value, limits::xattr_value_length);
}

void fields(auto& codec, Maybe<RemoveXattr> auto& command) {
  codec.path(Attribute::path, command.path);
  codec.text(Attribute::xattr_name, command.name, limits::xattr_name_length);
}

void fields(auto& codec, Maybe<Write> auto& command) {
  codec.path(Attribute::path, command.path);
  codec.number(Attribute::file_offset, command.offset);
  codec.data(Attribute::data, command.data);
}

void fields(auto& codec, Maybe<EncodedWrite> auto& command) {
  codec.path(Attribute::path, command.path);
  codec.number(Attribute::file_offset, command.offset);
  codec.number(Attribute::unencoded_file_length, command.unencoded_file_length);
  codec.number(Attribute::unencoded_length, command.unencoded_length);
  codec.number(Attribute::unencoded_offset, command.unencoded_offset);
  codec.optional_number(Attribute::compression, command.compression);
  codec.optional_number(Attribute::encryption, command.encryption);
  codec.data(Attribute::data, command.data);
}

void fields(auto& codec, Maybe<Clone> auto& command) {
  codec.number(Attribute::file_offset, command.range.offset);
  codec.number(Attribute::clone_length, command.range.length);
  codec.path(Attribute::path, command.path);
  codec.uuid(Attribute::clone_uuid, command.source_uuid);
  codec.number(Attribute::clone_transaction_id, command.source_transaction_id);
  codec.path(Attribute::clone_path, command.source_path);
  codec.number(Attribute::clone_offset, command.source_offset);
  codec.check_range(Attribute::clone_length, command.range);
  codec.check_range(Attribute::clone_offset, {command.source_offset, command.range.length});
}

void fields(auto& codec, Maybe<Truncate> auto& command) {
  codec.path(Attribute::path, command.path);
  codec.number(Attribute::size, command.size);
}

void fields(auto& codec, Maybe<ChangeMode> auto& command) {
  codec.path(Attribute::path, command.path);
  codec.number(Attribute::mode, command.mode);
}

void fields(auto& codec, Maybe<ChangeOwner> auto& command) {
  codec.path(Attribute::path, command.path);
  codec.number(Attribute::uid, command.uid);
  codec.number(Attribute::gid, command.gid);
}

// From version 2 on the kernel adds the time of creation, which no system call can set.
//
// Nothing guards the version in the stream's header, and one flipped bit makes version 1 version 3
// or the other way round: two versions that lay out data differently. The time of creation tells
// them apart, because every stream of the kernel sets times.
void fields(auto& codec, Maybe<SetTimes> auto& command) {
  codec.path(Attribute::path, command.path);
  codec.time(Attribute::accessed, command.accessed);
  codec.time(Attribute::modified, command.modified);
  codec.time(Attribute::changed, command.changed);
  codec.time_from_version_2(Attribute::created, command.created);
}

void fields(auto& codec, Maybe<UpdateExtent> auto& command) {
  codec.path(Attribute::path, command.path);
  codec.number(Attribute::file_offset, command.range.offset);
  codec.number(Attribute::size, command.range.length);
  codec.check_range(Attribute::size, command.range);
}

void fields(auto& codec, Maybe<Fallocate> auto& command) {
  codec.path(Attribute::path, command.path);
  codec.number(Attribute::fallocate_mode, command.mode);
  codec.number(Attribute::file_offset, command.range.offset);
  codec.number(Attribute::size, command.range.length);
  codec.check_range(Attribute::size, command.range);
}

void fields(auto& codec, Maybe<FileAttributes> auto& command) {
  codec.path(Attribute::path, command.path);
  codec.number(Attribute::file_attributes, command.attributes);
}

void fields(auto& codec, Maybe<EnableVerity> auto& command) {
  codec.path(Attribute::path, command.path);
  codec.number(Attribute::verity_algorithm, command.algorithm);
  codec.number(Attribute::verity_block_size, command.block_size);
  codec.bytes(Attribute::verity_salt, command.salt, wire::verity_salt_length);
  codec.bytes(Attribute::verity_signature, command.signature, wire::verity_signature_length);
}

void fields(auto&, Maybe<End> auto&) {}

}  // namespace icbd::sendstream
