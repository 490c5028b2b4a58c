// Content: open, read, lseek, extended attributes.

#include <fmt/format.h>

#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include "kernel_interface.h"
#include "view_state.h"

namespace icbd::fs {
namespace {

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

void reply_opened(fuse_req_t request, fuse_file_info info,
                  const Result<OpenNodes::Opened>& opened) {
  if (!opened) return reply_error(request, opened.error());
  ViewState& state = state_of(request);  // the request is gone once it is answered
  int replied = 0;
  if (const auto backing = opened->backing) {
    // No other flag: with FOPEN_KEEP_CACHE the kernel refuses it.
    const kernel::OpenReply reply{.handle = opened->handle,
                                  .open_flags = kernel::open_passthrough,
                                  .backing_id = static_cast<std::int32_t>(*backing)};
    replied = fuse_reply_buf(request, reinterpret_cast<const char*>(&reply), sizeof reply);
  } else {
    info.fh = opened->handle;
    info.keep_cache = 1;  // a version's bytes never change
    replied = fuse_reply_open(request, &info);
  }
  // The caller has gone: no release will come. But where the view keeps requests itself, an earlier
  // process may have answered this one, and died before it could write that down.
  const bool maybe_answered = opened->given_before && !state.device->features().resend;
  if (replied != 0 && !maybe_answered) state.nodes->close(opened->handle);
}

void read_from(fuse_req_t request, const std::shared_ptr<OpenFile>& file, ByteRange range) {
  if (file->is_local(range)) {
    const std::span<std::byte> buffer = thread_buffer(range.length);
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

// The file of an open node. It was opened by an earlier process, or is read by the kernel itself:
// then it is opened here.
using WithFile = std::function<void(fuse_req_t, const std::shared_ptr<OpenFile>&)>;
void with_file(fuse_req_t request, fuse_ino_t id, WithFile then) {
  if (const auto file = state_of(request).nodes->file(id)) return then(request, file);
  const auto node = decode(id);
  if (!node || node->kind != NodeId::Kind::content) return (void)fuse_reply_err(request, ESTALE);
  with_tree(request, *node, [node, id, then = std::move(then)](fuse_req_t waiting, Tree& tree) {
    auto file = tree.open(node->inode);
    if (!file) return reply_tree_error(waiting, *node, file.error());
    then(waiting, state_of(waiting).nodes->keep_file(id, std::move(*file)));
  });
}

}  // namespace

void operation_open(fuse_req_t request, fuse_ino_t id, fuse_file_info* info) {
  const auto node = decode(id);
  if (!node || node->kind != NodeId::Kind::content) return (void)fuse_reply_err(request, ESTALE);
  const std::uint64_t unique = Device::current_unique();
  if (const auto opened = state_of(request).nodes->open_known(id, unique))
    return reply_opened(request, *info, *opened);
  with_tree(request, *node, [node, id, unique, info = *info](fuse_req_t waiting, Tree& tree) {
    auto file = tree.open(node->inode);
    if (!file) return reply_tree_error(waiting, *node, file.error());
    reply_opened(waiting, info, state_of(waiting).nodes->open(id, unique, std::move(*file)));
  });
}

void operation_read(fuse_req_t request, fuse_ino_t id, size_t size, off_t offset, fuse_file_info*) {
  const ByteRange range{static_cast<std::uint64_t>(offset), size};
  with_file(request, id, [range](fuse_req_t waiting, const std::shared_ptr<OpenFile>& file) {
    read_from(waiting, file, range);
  });
}

void operation_lseek(fuse_req_t request, fuse_ino_t id, off_t offset, int whence, fuse_file_info*) {
  with_file(request, id,
            [offset, whence](fuse_req_t waiting, const std::shared_ptr<OpenFile>& file) {
              const auto found = file->seek(static_cast<std::uint64_t>(offset), whence);
              if (found)
                fuse_reply_lseek(waiting, static_cast<off_t>(*found));
              else
                reply_error(waiting, found.error());
            });
}

void operation_release(fuse_req_t request, fuse_ino_t, fuse_file_info* info) {
  state_of(request).nodes->close(info->fh);
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
      reply_tree_error(waiting, *node, value.error());
  });
}

void operation_listxattr(fuse_req_t request, fuse_ino_t id, size_t size) {
  const auto node = decode(id);
  if (!node || node->kind != NodeId::Kind::content ||
      (node->inode == subvolume_root && !state_of(request).library.tree(node->serial)))
    return reply_sized(request, {}, size);
  with_tree(request, *node, [node, size](fuse_req_t waiting, Tree& tree) {
    const auto names = tree.xattr_names(node->inode);
    if (!names) return reply_tree_error(waiting, *node, names.error());
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
