// The commands of a BTRFS send stream, as a variant of structs.
//
// Source: fs/btrfs/send.h and send.c of Linux 6.18 and the "Send stream format" page of the BTRFS
// documentation. Numbers on the wire stay in src/sendstream/wire.h.
// Lifecycle: paths and values are owned; `data` of Write and EncodedWrite is a view into the
// decoder's buffer and is valid until the decoder's next call.
// Paths are relative to the subvolume, as the stream gives them; "" is its root. Nothing is checked
// here beyond their length and that they hold no NUL: whoever applies a command confines it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "icbd/base/bytes.h"
#include "icbd/base/types.h"
#include "icbd/base/uuid.h"

namespace icbd::sendstream {

// The stream begins with exactly one of Subvolume and Snapshot.
struct Subvolume {
  std::string path;
  Uuid uuid;
  std::uint64_t transaction_id = 0;
};
struct Snapshot {
  std::string path;
  Uuid uuid;
  std::uint64_t transaction_id = 0;
  Uuid parent_uuid;
  std::uint64_t parent_transaction_id = 0;
};
struct MakeFile {
  std::string path;
  InodeNumber inode;
};
struct MakeDirectory {
  std::string path;
  InodeNumber inode;
};
struct MakeNode {
  std::string path;
  InodeNumber inode;
  std::uint64_t device = 0, mode = 0;
};
// Fifos and sockets have no device; the kernel names one all the same, and a mode.
struct MakeFifo {
  std::string path;
  InodeNumber inode;
  std::uint64_t device = 0, mode = 0;
};
struct MakeSocket {
  std::string path;
  InodeNumber inode;
  std::uint64_t device = 0, mode = 0;
};
struct MakeSymlink {
  std::string path;
  InodeNumber inode;
  std::string target;
};
struct Rename {
  std::string path;
  std::string to;
};
// `path` is the new name, `existing` the name that is there (BTRFS_SEND_A_PATH_LINK).
struct Link {
  std::string path;
  std::string existing;
};
struct Unlink {
  std::string path;
};
struct RemoveDirectory {
  std::string path;
};
struct SetXattr {
  std::string path;
  std::string name;
  Bytes value;
};
struct RemoveXattr {
  std::string path;
  std::string name;
};
struct Write {
  std::string path;
  std::uint64_t offset = 0;
  ByteView data;
};
// Version 2. `data`, unpacked, are `unencoded_length` bytes; `unencoded_file_length` of them, from
// `unencoded_offset` on, are the file's at `offset` (struct btrfs_ioctl_encoded_io_args in
// linux/btrfs.h). `compression` is a BTRFS_ENCODED_IO_COMPRESSION_*. The kernel says nothing of
// encryption for inline extents; of others it says 0, which is none.
struct EncodedWrite {
  std::string path;
  std::uint64_t offset = 0;
  std::uint64_t unencoded_file_length = 0, unencoded_length = 0, unencoded_offset = 0;
  std::uint32_t compression = 0;
  std::optional<std::uint32_t> encryption;
  ByteView data;
};
// Source and destination may be the same file. `source_uuid` names the subvolume that holds
// `source_path`; it may be the one that is being received.
struct Clone {
  std::string path;
  ByteRange range;
  Uuid source_uuid;
  std::uint64_t source_transaction_id = 0;
  std::string source_path;
  std::uint64_t source_offset = 0;
};
struct Truncate {
  std::string path;
  std::uint64_t size = 0;
};
struct ChangeMode {
  std::string path;
  std::uint64_t mode = 0;
};
struct ChangeOwner {
  std::string path;
  std::uint64_t uid = 0, gid = 0;
};
// `created` is not in streams of version 1, and always in those of version 3. No system call sets
// it.
struct SetTimes {
  std::string path;
  Timestamp accessed, modified, changed;
  std::optional<Timestamp> created = std::nullopt;
};
// Instead of Write in a stream without data (NO_FILE_DATA): these bytes changed.
struct UpdateExtent {
  std::string path;
  ByteRange range;
};
// Version 2. `mode` is fallocate(2)'s.
struct Fallocate {
  std::string path;
  std::uint32_t mode = 0;
  ByteRange range;
};
// Version 2. `attributes` are BTRFS_INODE_* bits, not FS_*_FL.
struct FileAttributes {
  std::string path;
  std::uint64_t attributes = 0;
};
// Version 3.
struct EnableVerity {
  std::string path;
  std::uint8_t algorithm = 0;
  std::uint32_t block_size = 0;
  Bytes salt, signature;
};
struct End {};

using Command =
    std::variant<Subvolume, Snapshot, MakeFile, MakeDirectory, MakeNode, MakeFifo, MakeSocket,
                 MakeSymlink, Rename, Link, Unlink, RemoveDirectory, SetXattr, RemoveXattr, Write,
                 EncodedWrite, Clone, Truncate, ChangeMode, ChangeOwner, SetTimes, UpdateExtent,
                 Fallocate, FileAttributes, EnableVerity, End>;

}  // namespace icbd::sendstream
