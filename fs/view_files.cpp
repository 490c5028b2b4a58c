// Content: open, read, lseek, extended attributes.

#include <fmt/format.h>

#include <cerrno>
#include <string>
#include <vector>

#include "view_state.h"

namespace icbd::fs {
namespace {

struct OpenHandle {
  std::shared_ptr<OpenFile> file;
  HandleCounts::Held held;
};

OpenHandle& handle_of(const fuse_file_info* info) {
  return *reinterpret_cast<OpenHandle*>(info->fh);
}

// The buffer of a thread that reads /dev/fuse: grown once, reused for every read on that thread.
std::span<std::byte> thread_buffer(std::size_t size) {
  thread_local std::vector<std::byte> buffer;
  if (buffer.size() < size) buffer.resize(size);
  return std::span(buffer).first(size);
}

const char* characters(ByteView bytes) {
  return reinterpret_cast<const char*>(bytes.data());
}

// What the view itself says of a version; nothing if it has no such name.
std::optional<std::string> reserved_xattr(const VersionEntry& version, std::string_view name) {
  name.remove_prefix(reserved_xattr_prefix.size());
  if (name == "state") return version.state;
  if (name == "image") return version.image;
  if (name == "version") return std::to_string(version.number.value());
  return std::nullopt;
}

// getxattr(2) and listxattr(2): size 0 asks for the length alone.
void reply_sized(fuse_req_t request, ByteView value, std::size_t size) {
  if (size == 0)
    fuse_reply_xattr(request, value.size());
  else if (value.size() > size)
    fuse_reply_err(request, ERANGE);
  else
    fuse_reply_buf(request, characters(value), value.size());
}

}  // namespace

void operation_open(fuse_req_t request, fuse_ino_t id, fuse_file_info* info) {
  const auto node = decode(id);
  if (!node || node->kind != NodeId::Kind::content) return (void)fuse_reply_err(request, ESTALE);
  with_tree(request, *node, [node, info = *info](fuse_req_t waiting, Tree& tree) mutable {
    auto file = tree.open(node->inode);
    if (!file) return reply_error(waiting, file.error());
    auto handle = std::unique_ptr<OpenHandle>(new OpenHandle{
        .file = std::move(*file), .held = {state_of(waiting).handles, node->serial}});
    info.fh = reinterpret_cast<std::uint64_t>(handle.get());
    info.keep_cache = 1;  // a version's bytes never change
    if (fuse_reply_open(waiting, &info) == 0) static_cast<void>(handle.release());
  });
}

void operation_read(fuse_req_t request, fuse_ino_t, size_t size, off_t offset,
                    fuse_file_info* info) {
  // Held: once the reader is answered, which may be before read() returns, it may close the file.
  const std::shared_ptr<OpenFile> file = handle_of(info).file;
  const ByteRange range{static_cast<std::uint64_t>(offset), size};
  if (file->is_local(range)) {
    const std::span<std::byte> buffer = thread_buffer(size);
    const auto got = file->read_local(buffer, range.offset);
    if (!got) return reply_error(request, got.error());
    fuse_reply_buf(request, characters(buffer), *got);
    return;
  }
  auto parked = ParkedRequest::park(request, state_of(request).parked);
  file->read(range, [parked](Result<Bytes> bytes) {
    parked->answer([&](fuse_req_t waiting) {
      if (bytes)
        fuse_reply_buf(waiting, characters(*bytes), bytes->size());
      else
        reply_error(waiting, bytes.error());
    });
  });
}

void operation_lseek(fuse_req_t request, fuse_ino_t, off_t offset, int whence,
                     fuse_file_info* info) {
  const auto found = handle_of(info).file->seek(static_cast<std::uint64_t>(offset), whence);
  if (found)
    fuse_reply_lseek(request, static_cast<off_t>(*found));
  else
    reply_error(request, found.error());
}

void operation_release(fuse_req_t request, fuse_ino_t, fuse_file_info* info) {
  delete &handle_of(info);
  fuse_reply_err(request, 0);
}

void operation_getxattr(fuse_req_t request, fuse_ino_t id, const char* name, size_t size) {
  ViewState& state = state_of(request);
  const auto node = decode(id);
  if (!node || node->kind != NodeId::Kind::content) return (void)fuse_reply_err(request, ENODATA);
  if (std::string_view(name).starts_with(reserved_xattr_prefix)) {
    const auto version = state.library.version(node->serial);
    const auto value = version ? reserved_xattr(*version, name) : std::nullopt;
    if (!value) return (void)fuse_reply_err(request, ENODATA);
    return reply_sized(request, as_bytes(*value), size);
  }
  // `ls -l` asks for these of every version directory; that must not fetch shapes.
  if (node->inode == subvolume_root && !state.library.tree(node->serial))
    return (void)fuse_reply_err(request, ENODATA);
  with_tree(request, *node, [node, name = std::string(name), size](fuse_req_t waiting, Tree& tree) {
    const auto value = tree.xattr(node->inode, name);
    if (value)
      reply_sized(waiting, *value, size);
    else
      reply_error(waiting, value.error());
  });
}

void operation_listxattr(fuse_req_t request, fuse_ino_t id, size_t size) {
  const auto node = decode(id);
  if (!node || node->kind != NodeId::Kind::content ||
      (node->inode == subvolume_root && !state_of(request).library.tree(node->serial)))
    return reply_sized(request, {}, size);
  with_tree(request, *node, [node, size](fuse_req_t waiting, Tree& tree) {
    const auto names = tree.xattr_names(node->inode);
    if (!names) return reply_error(waiting, names.error());
    std::string list;
    for (const std::string& name : *names)
      if (!name.starts_with(reserved_xattr_prefix)) list.append(name).push_back('\0');
    reply_sized(waiting, as_bytes(list), size);
  });
}

void operation_statfs(fuse_req_t request, fuse_ino_t) {
  const auto space = state_of(request).library.space();
  if (space)
    fuse_reply_statfs(request, &*space);
  else
    reply_error(request, space.error());
}

}  // namespace icbd::fs
