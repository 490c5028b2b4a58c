// Names: lookup, attributes, listings, symbolic links.

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "view_state.h"

namespace icbd::fs {
namespace {

constexpr std::string_view latest_name = "latest";

// A listing is taken when the directory is opened, so that a reader sees one state of it.
struct OpenDirectory {
  struct Item {
    std::string name;
    std::uint64_t inode;
    std::uint32_t mode;
  };
  std::vector<Item> items;
};

OpenDirectory& directory_of(const fuse_file_info* info) {
  return *reinterpret_cast<OpenDirectory*>(info->fh);
}

std::uint64_t id_of(const NodeId& node) {
  return encode(node).value_or(0);
}

std::optional<VersionNumber> parse_number(std::string_view name) {
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error != std::errc() || end != name.data() + name.size() || number == 0 || name[0] == '0')
    return std::nullopt;
  return VersionNumber(number);
}

NodeId version_node(const VersionEntry& version) {
  return NodeId::of_content(version.serial, subvolume_root, version.state == "complete");
}

Attributes root_attributes(const Library::Images& images) {
  Attributes attributes{};
  attributes.st_mode = S_IFDIR | 0755;
  attributes.st_nlink = 2;
  for (const ImageEntry& image : images)
    attributes.st_mtim.tv_sec = std::max<time_t>(attributes.st_mtim.tv_sec, image.modified.seconds);
  attributes.st_ctim = attributes.st_atim = attributes.st_mtim;
  return attributes;
}

Attributes latest_attributes(const ImageEntry& image) {
  Attributes attributes{};
  attributes.st_mode = S_IFLNK | 0777;
  attributes.st_nlink = 1;
  attributes.st_size =
      static_cast<off_t>(fmt::formatted_size("{}", image.versions.back().number.value()));
  attributes.st_mtim.tv_sec = image.modified.seconds;
  attributes.st_ctim = attributes.st_atim = attributes.st_mtim;
  return attributes;
}

void reply_entry(fuse_req_t request, const NodeId& node, const Attributes& attributes,
                 double timeout) {
  const fuse_entry_param entry = entry_of(node, attributes, timeout);
  if (entry.ino == 0)
    fuse_reply_err(request, EOVERFLOW);
  else
    fuse_reply_entry(request, &entry);
}

void reply_attributes(fuse_req_t request, std::uint64_t id, Attributes attributes, double timeout) {
  attributes.st_ino = inode_for_stat(id);
  fuse_reply_attr(request, &attributes, timeout);
}

void lookup_in_root(fuse_req_t request, std::string_view name) {
  const auto images = state_of(request).library.images();
  if (name == "." || name == "..") {
    reply_entry(request, NodeId::root(), root_attributes(*images), catalog_timeout_seconds);
  } else if (const ImageEntry* image = find_image(*images, name)) {
    reply_entry(request, NodeId::of_image(image->id), image_attributes(*image),
                catalog_timeout_seconds);
  } else {
    fuse_reply_err(request, ENOENT);  // not remembered: it may be published in a moment
  }
}

void lookup_in_image(fuse_req_t request, std::uint32_t id, std::string_view name) {
  const auto images = state_of(request).library.images();
  const ImageEntry* image = find_image(*images, id);
  if (name == "..") return lookup_in_root(request, ".");
  if (image == nullptr) {
    fuse_reply_err(request, ESTALE);
  } else if (name == ".") {
    reply_entry(request, NodeId::of_image(id), image_attributes(*image), catalog_timeout_seconds);
  } else if (name == latest_name && !image->versions.empty()) {
    reply_entry(request, NodeId::of_latest(id), latest_attributes(*image), catalog_timeout_seconds);
  } else {
    const auto number = parse_number(name);
    const auto version = std::ranges::find_if(
        image->versions, [&](const VersionEntry& entry) { return number == entry.number; });
    if (version == image->versions.end())
      fuse_reply_err(request, ENOENT);
    else
      reply_entry(request, version_node(*version), version->root, catalog_timeout_seconds);
  }
}

void lookup_in_version(fuse_req_t request, const NodeId& parent, const std::string& name) {
  ViewState& state = state_of(request);
  if (name == ".." && parent.inode == subvolume_root) {
    const auto version = state.library.version(parent.serial);
    if (!version) return (void)fuse_reply_err(request, ESTALE);
    return lookup_in_root(request, version->image);
  }
  with_tree(request, parent.serial, [parent, name](fuse_req_t waiting, Tree& tree) {
    const auto attributes =
        name == "." ? tree.attributes(parent.inode) : tree.lookup(parent.inode, name);
    if (!attributes) return reply_error(waiting, attributes.error());
    reply_entry(waiting,
                NodeId::of_content(parent.serial, InodeNumber(attributes->st_ino), tree.complete()),
                *attributes, tree.complete() ? complete_timeout_seconds : arriving_timeout_seconds);
  });
}

void list_root(fuse_req_t request, OpenDirectory& directory) {
  const auto images = state_of(request).library.images();  // held for the loop
  for (const ImageEntry& image : *images)
    directory.items.push_back({image.name, id_of(NodeId::of_image(image.id)), S_IFDIR});
}

bool list_image(fuse_req_t request, std::uint32_t id, OpenDirectory& directory) {
  const auto images = state_of(request).library.images();
  const ImageEntry* image = find_image(*images, id);
  if (image == nullptr) return false;
  for (const VersionEntry& version : image->versions)
    directory.items.push_back({std::to_string(version.number.value()),
                               inode_for_stat(id_of(version_node(version))), S_IFDIR});
  if (!image->versions.empty())
    directory.items.push_back({std::string(latest_name), id_of(NodeId::of_latest(id)), S_IFLNK});
  return true;
}

void reply_opendir(fuse_req_t request, fuse_file_info info,
                   std::unique_ptr<OpenDirectory> directory) {
  info.fh = reinterpret_cast<std::uint64_t>(directory.get());
  // Taken over by the kernel's handle, unless the caller has gone: then no release will come.
  if (fuse_reply_open(request, &info) == 0) static_cast<void>(directory.release());
}

std::unique_ptr<OpenDirectory> new_directory(fuse_ino_t id) {
  auto directory = std::make_unique<OpenDirectory>();
  directory->items.push_back({".", inode_for_stat(id), S_IFDIR});
  directory->items.push_back({"..", inode_for_stat(id), S_IFDIR});
  return directory;
}

void open_version_directory(fuse_req_t request, fuse_ino_t id, const NodeId& node,
                            const fuse_file_info& info) {
  with_tree(request, node.serial, [node, id, info](fuse_req_t waiting, Tree& tree) {
    auto list = tree.list(node.inode);
    if (!list) return reply_error(waiting, list.error());
    auto directory = new_directory(id);
    for (DirectoryEntry& entry : *list) {
      const std::uint64_t entry_id =
          id_of(NodeId::of_content(node.serial, entry.inode, tree.complete()));
      directory->items.push_back({std::move(entry.name), inode_for_stat(entry_id), entry.mode});
    }
    reply_opendir(waiting, info, std::move(directory));
  });
}

}  // namespace

fuse_entry_param entry_of(const NodeId& node, const Attributes& attributes, double timeout) {
  fuse_entry_param entry{};
  entry.ino = id_of(node);
  entry.attr = attributes;
  entry.attr.st_ino = inode_for_stat(entry.ino);
  entry.attr_timeout = timeout;
  entry.entry_timeout = timeout;
  return entry;
}

Attributes image_attributes(const ImageEntry& image) {
  Attributes attributes{};
  attributes.st_mode = S_IFDIR | 0755;
  attributes.st_nlink = 2 + image.versions.size();
  attributes.st_mtim.tv_sec = image.modified.seconds;
  attributes.st_mtim.tv_nsec = image.modified.nanoseconds;
  attributes.st_ctim = attributes.st_atim = attributes.st_mtim;
  return attributes;
}

const ImageEntry* find_image(const Library::Images& images, std::uint32_t id) {
  const auto found = std::ranges::find(images, id, &ImageEntry::id);
  return found == images.end() ? nullptr : &*found;
}

const ImageEntry* find_image(const Library::Images& images, std::string_view name) {
  const auto found = std::ranges::find(images, name, &ImageEntry::name);
  return found == images.end() ? nullptr : &*found;
}

void operation_lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
  const auto node = decode(parent);
  if (!node) return (void)fuse_reply_err(request, ESTALE);
  if (std::strlen(name) > limits::name_length) return (void)fuse_reply_err(request, ENAMETOOLONG);
  switch (node->kind) {
    case NodeId::Kind::root:
      return lookup_in_root(request, name);
    case NodeId::Kind::image:
      return lookup_in_image(request, node->image, name);
    case NodeId::Kind::latest:
      return (void)fuse_reply_err(request, ENOTDIR);
    case NodeId::Kind::content:
      return lookup_in_version(request, *node, name);
  }
}

void operation_getattr(fuse_req_t request, fuse_ino_t id, fuse_file_info*) {
  ViewState& state = state_of(request);
  const auto node = decode(id);
  if (!node) return (void)fuse_reply_err(request, ESTALE);
  if (node->kind == NodeId::Kind::content) {
    if (node->inode == subvolume_root) {
      const auto version = state.library.version(node->serial);
      if (!version) return (void)fuse_reply_err(request, ESTALE);
      return reply_attributes(request, id, version->root, catalog_timeout_seconds);
    }
    return with_tree(request, node->serial, [id, node](fuse_req_t waiting, Tree& tree) {
      const auto attributes = tree.attributes(node->inode);
      if (!attributes) return reply_error(waiting, attributes.error());
      reply_attributes(waiting, id, *attributes,
                       tree.complete() ? complete_timeout_seconds : arriving_timeout_seconds);
    });
  }
  const auto images = state.library.images();
  if (node->kind == NodeId::Kind::root)
    return reply_attributes(request, id, root_attributes(*images), catalog_timeout_seconds);
  const ImageEntry* image = find_image(*images, node->image);
  if (image == nullptr || (node->kind == NodeId::Kind::latest && image->versions.empty()))
    return (void)fuse_reply_err(request, ESTALE);
  reply_attributes(
      request, id,
      node->kind == NodeId::Kind::latest ? latest_attributes(*image) : image_attributes(*image),
      catalog_timeout_seconds);
}

void operation_readlink(fuse_req_t request, fuse_ino_t id) {
  const auto node = decode(id);
  if (node && node->kind == NodeId::Kind::content)
    return with_tree(request, node->serial, [node](fuse_req_t waiting, Tree& tree) {
      const auto target = tree.read_link(node->inode);
      if (target)
        fuse_reply_readlink(waiting, target->c_str());
      else
        reply_error(waiting, target.error());
    });
  if (node && node->kind == NodeId::Kind::latest) {
    const auto images = state_of(request).library.images();
    const ImageEntry* image = find_image(*images, node->image);
    if (image != nullptr && !image->versions.empty()) {
      const std::string target = std::to_string(image->versions.back().number.value());
      return (void)fuse_reply_readlink(request, target.c_str());
    }
    return (void)fuse_reply_err(request, ESTALE);
  }
  fuse_reply_err(request, EINVAL);
}

void operation_opendir(fuse_req_t request, fuse_ino_t id, fuse_file_info* info) {
  const auto node = decode(id);
  if (!node) return (void)fuse_reply_err(request, ESTALE);
  if (node->kind == NodeId::Kind::content) return open_version_directory(request, id, *node, *info);
  auto directory = new_directory(id);
  if (node->kind == NodeId::Kind::root)
    list_root(request, *directory);
  else if (!list_image(request, node->image, *directory))
    return (void)fuse_reply_err(request, ESTALE);
  reply_opendir(request, *info, std::move(directory));
}

void operation_readdir(fuse_req_t request, fuse_ino_t, size_t size, off_t offset,
                       fuse_file_info* info) {
  const OpenDirectory& directory = directory_of(info);
  std::vector<char> buffer(size);
  std::size_t used = 0;
  for (auto i = static_cast<std::size_t>(offset); i < directory.items.size(); ++i) {
    const OpenDirectory::Item& item = directory.items[i];
    struct stat attributes{};
    attributes.st_ino = item.inode;
    attributes.st_mode = item.mode;
    const std::size_t needed =
        fuse_add_direntry(request, buffer.data() + used, size - used, item.name.c_str(),
                          &attributes, static_cast<off_t>(i + 1));
    if (needed > size - used) break;
    used += needed;
  }
  fuse_reply_buf(request, buffer.data(), used);
}

void operation_releasedir(fuse_req_t request, fuse_ino_t, fuse_file_info* info) {
  delete &directory_of(info);
  fuse_reply_err(request, 0);
}

}  // namespace icbd::fs
