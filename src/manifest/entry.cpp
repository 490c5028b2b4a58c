#include "entry.h"

#include <fmt/format.h>

#include "icbd/base/quote.h"

#include "digest_tree.h"
#include "path.h"

namespace icbd::manifest {
namespace {

using Fault = std::optional<std::string>;

// Linux packs a device number into 32 bits: 12 for the major, 20 for the minor (linux/kdev_t.h).
constexpr std::uint32_t device_major_max = (1u << 12) - 1;
constexpr std::uint32_t device_minor_max = (1u << 20) - 1;
// chown(2) takes this id as "leave it as it is", so it can belong to nobody.
constexpr std::uint32_t no_id = 0xffffffff;
constexpr std::uint32_t known_attributes =
    attribute_immutable | attribute_append_only | attribute_no_dump;

bool is_device(EntryType type) {
  return type == EntryType::character_device || type == EntryType::block_device;
}

Fault target_fault(const Entry& entry) {
  switch (entry.type) {
    case EntryType::symlink:
      if (entry.target.empty()) return "a symbolic link without a target";
      if (entry.target.size() >= limits::path_length) return "a target over limits::path_length";
      if (entry.target.find('\0') != std::string::npos) return "a NUL in the target";
      return {};
    case EntryType::hard_link:
      if (const std::string_view fault = path_fault(entry.target); !fault.empty())
        return fmt::format("{} of the first name", fault);
      if (!path_less(entry.target, entry.path)) return "a hard link to a later name";
      return {};
    default:
      if (!entry.target.empty()) return "a target on what is no link";
      return {};
  }
}

Fault metadata_fault(const Entry& entry) {
  if (entry.mode > 07777) return fmt::format("mode {:o} has more than permission bits", entry.mode);
  if (entry.uid == no_id || entry.gid == no_id) return "an owner that is no id";
  if (entry.modified.nanoseconds > 999'999'999)
    return fmt::format("{} nanoseconds are over a second", entry.modified.nanoseconds);
  if ((entry.attributes & ~known_attributes) != 0)
    return fmt::format("unknown attribute bits {:#x}", entry.attributes & ~known_attributes);
  if (is_device(entry.type)) {
    if (entry.device_major > device_major_max || entry.device_minor > device_minor_max)
      return fmt::format("device {}:{} is out of range", entry.device_major, entry.device_minor);
  } else if (entry.device_major != 0 || entry.device_minor != 0) {
    return "a device number on what is no device";
  }
  return {};
}

Fault xattrs_fault(const Entry& entry) {
  if (entry.xattrs.size() > limits::xattrs_per_file)
    return fmt::format("{} extended attributes, more than limits::xattrs_per_file",
                       entry.xattrs.size());
  std::string_view previous;
  for (const Xattr& xattr : entry.xattrs) {
    if (xattr.name.empty() || xattr.name.size() > limits::xattr_name_length)
      return "an extended attribute's name that is empty or over limits::xattr_name_length";
    if (xattr.name.find('\0') != std::string::npos) return "a NUL in an extended attribute's name";
    if (xattr.name <= previous) return "extended attributes that are not in order of their names";
    if (xattr.value.size() > limits::xattr_value_length)
      return fmt::format("extended attribute {} is over limits::xattr_value_length",
                         quote(xattr.name));
    previous = xattr.name;
  }
  return {};
}

Fault content_fault(const Entry& entry) {
  if (entry.type != EntryType::file) {
    if (entry.size != 0 || entry.data_bytes != 0 || !entry.digests.empty())
      return "a size or digests on what is no file";
    return {};
  }
  if (entry.size > limits::file_size)
    return fmt::format("size {} is over limits::file_size", entry.size);
  if (entry.data_bytes > entry.size)
    return fmt::format("{} bytes of data in a file of {}", entry.data_bytes, entry.size);
  if (const DigestTree tree(entry.chunk_count()); entry.digests.size() != tree.top_count())
    return fmt::format("{} digests, but a file of {} bytes has {}", entry.digests.size(),
                       entry.size, tree.top_count());
  return {};
}

// All names of an inode have the same metadata; it stands at the first one only.
Fault hard_link_fault(const Entry& entry) {
  Entry bare;
  bare.path = entry.path;
  bare.type = EntryType::hard_link;
  bare.target = entry.target;
  if (entry != bare) return "a hard link with metadata of its own";
  return target_fault(entry);
}

}  // namespace

ByteRange Entry::chunk_range(ChunkIndex chunk) const {
  return intersect({std::uint64_t{chunk.value()} * limits::chunk_size, limits::chunk_size},
                   {0, size});
}

std::optional<std::string> entry_fault(const Entry& entry) {
  if (entry.path.empty()) {
    if (entry.type != EntryType::directory) return "the root must be a directory";
  } else if (const std::string_view fault = path_fault(entry.path); !fault.empty()) {
    return std::string(fault);
  }
  if (entry.type < EntryType::file || entry.type > EntryType::hard_link)
    return fmt::format("unknown type {}", static_cast<unsigned>(entry.type));
  if (entry.type == EntryType::hard_link) return hard_link_fault(entry);
  for (const auto check : {metadata_fault, target_fault, xattrs_fault, content_fault})
    if (Fault fault = check(entry)) return fault;
  return {};
}

}  // namespace icbd::manifest
