// Names: lookup, attributes, listings, symbolic links.

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "view_state.h"

namespace icbd::fs {
namespace {

// A listing is taken when the directory is opened, so that a reader sees one state of it.
struct OpenDirectory {
  struct Item {
    std::string name;
    std::uint64_t inode;
    std::uint32_t mode;
  };
  std::vector<Item> items;
  std::optional<HandleCounts::Held> held = {};  // of a version
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
  return NodeId::of_content(version.serial, subvolume_root, version.state == "complete",
                            version.generation);
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

Attributes link_attributes(const ImageEntry& image, const LinkEntry& link) {
  Attributes attributes{};
  attributes.st_mode = S_IFLNK | 0777;
  attributes.st_nlink = 1;
  attributes.st_size = static_cast<off_t>(fmt::formatted_size("{}", link.target.value()));
  attributes.st_mtim.tv_sec = image.modified.seconds;
  attributes.st_ctim = attributes.st_atim = attributes.st_mtim;
  return attributes;
}

Attributes directory_attributes() {
  Attributes attributes{};
  attributes.st_mode = S_IFDIR | 0755;
  attributes.st_nlink = 2;
  return attributes;
}

// The directory's place in the list.
std::optional<std::uint32_t> find_directory(const ViewState& state, std::string_view name) {
  const auto& directories = state.options.directories;
  const auto found = std::ranges::find(directories, name, &ViewDirectory::name);
  if (found == directories.end()) return std::nullopt;
  return static_cast<std::uint32_t>(found - directories.begin());
}

struct FoundLink {
  const ImageEntry* image = nullptr;
  const LinkEntry* link = nullptr;
};

FoundLink find_link(const Library::Images& images, std::uint32_t id) {
  for (const ImageEntry& image : images)
    for (const LinkEntry& link : image.links)
      if (link.id == id) return {&image, &link};
  return {};
}

void reply_entry(fuse_req_t request, const NodeId& node, const Attributes& attributes,
                 double timeout, std::uint64_t generation = 0) {
  const fuse_entry_param entry = entry_of(node, attributes, timeout, generation);
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
  } else if (const auto directory = find_directory(state_of(request), name)) {
    reply_entry(request, NodeId::of_directory(*directory), directory_attributes(),
                directory_timeout_seconds);
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
  } else if (const auto link = std::ranges::find(image->links, name, &LinkEntry::name);
             link != image->links.end()) {
    reply_entry(request, NodeId::of_link(link->id), link_attributes(*image, *link),
                catalog_timeout_seconds);
  } else {
    const auto number = parse_number(name);
    const auto version = std::ranges::find_if(
        image->versions, [&](const VersionEntry& entry) { return number == entry.number; });
    if (version == image->versions.end())
      fuse_reply_err(request, ENOENT);
    else
      reply_entry(request, version_node(*version), version->root, catalog_timeout_seconds,
                  version->generation);
  }
}

void lookup_in_directory(fuse_req_t request, std::uint32_t id, std::string_view name) {
  if (name == "..") return lookup_in_root(request, ".");
  if (name == ".")
    reply_entry(request, NodeId::of_directory(id), directory_attributes(),
                directory_timeout_seconds);
  else
    fuse_reply_err(request, ENOENT);
}

void lookup_in_version(fuse_req_t request, const NodeId& parent, const std::string& name) {
  ViewState& state = state_of(request);
  if (name == ".." && parent.inode == subvolume_root) {
    const auto version = state.library.version(parent.serial);
    if (!version) return (void)fuse_reply_err(request, ESTALE);
    return lookup_in_root(request, version->image);
  }
  with_tree(request, parent, [parent, name](fuse_req_t waiting, Tree& tree) {
    const auto attributes =
        name == "." ? tree.attributes(parent.inode) : tree.lookup(parent.inode, name);
    if (!attributes) return reply_error(waiting, attributes.error());
    reply_entry(waiting,
                NodeId::of_content(parent.serial, InodeNumber(attributes->st_ino), tree.complete(),
                                   tree.generation()),
                *attributes, tree.complete() ? complete_timeout_seconds : arriving_timeout_seconds,
                tree.generation());
  });
}

void list_root(fuse_req_t request, OpenDirectory& directory) {
  const ViewState& state = state_of(request);
  for (std::uint32_t i = 0; i < state.options.directories.size(); ++i)
    directory.items.push_back(
        {state.options.directories[i].name, id_of(NodeId::of_directory(i)), S_IFDIR});
  const auto images = state.library.images();  // held for the loop
  for (const ImageEntry& image : *images)
    if (!find_directory(state, image.name))
      directory.items.push_back({image.name, id_of(NodeId::of_image(image.id)), S_IFDIR});
}

bool list_image(fuse_req_t request, std::uint32_t id, OpenDirectory& directory) {
  const auto images = state_of(request).library.images();
  const ImageEntry* image = find_image(*images, id);
  if (image == nullptr) return false;
  for (const VersionEntry& version : image->versions)
    directory.items.push_back({std::to_string(version.number.value()),
                               inode_for_stat(id_of(version_node(version))), S_IFDIR});
  for (const LinkEntry& link : image->links)
    directory.items.push_back({link.name, id_of(NodeId::of_link(link.id)), S_IFLNK});
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
  with_tree(request, node, [node, id, info](fuse_req_t waiting, Tree& tree) {
    auto list = tree.list(node.inode);
    if (!list) return reply_error(waiting, list.error());
    auto directory = new_directory(id);
    directory->held.emplace(state_of(waiting).handles, node.serial);
    for (DirectoryEntry& entry : *list) {
      const std::uint64_t entry_id =
          id_of(NodeId::of_content(node.serial, entry.inode, tree.complete(), tree.generation()));
      directory->items.push_back({std::move(entry.name), inode_for_stat(entry_id), entry.mode});
    }
    reply_opendir(waiting, info, std::move(directory));
  });
}

}  // namespace

fuse_entry_param entry_of(const NodeId& node, const Attributes& attributes, double timeout,
                          std::uint64_t generation) {
  fuse_entry_param entry{};
  entry.ino = id_of(node);
  // The kernel keeps inodes, and the pages of their files, by number: with another generation it
  // begins anew (fuse_stale_inode in fs/fuse/fuse_i.h).
  entry.generation = generation;
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
      return lookup_in_image(request, node->id, name);
    case NodeId::Kind::link:
      return (void)fuse_reply_err(request, ENOTDIR);
    case NodeId::Kind::directory:
      return lookup_in_directory(request, node->id, name);
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
      if (!version || !node->is_of(version->generation))
        return (void)fuse_reply_err(request, ESTALE);
      return reply_attributes(request, id, version->root, catalog_timeout_seconds);
    }
    return with_tree(request, *node, [id, node](fuse_req_t waiting, Tree& tree) {
      const auto attributes = tree.attributes(node->inode);
      if (!attributes) return reply_error(waiting, attributes.error());
      reply_attributes(waiting, id, *attributes,
                       tree.complete() ? complete_timeout_seconds : arriving_timeout_seconds);
    });
  }
  const auto images = state.library.images();
  switch (node->kind) {
    case NodeId::Kind::root:
      return reply_attributes(request, id, root_attributes(*images), catalog_timeout_seconds);
    case NodeId::Kind::directory:
      return reply_attributes(request, id, directory_attributes(), directory_timeout_seconds);
    case NodeId::Kind::link: {
      const FoundLink found = find_link(*images, node->id);
      if (found.link == nullptr) return (void)fuse_reply_err(request, ESTALE);
      return reply_attributes(request, id, link_attributes(*found.image, *found.link),
                              catalog_timeout_seconds);
    }
    default: {
      const ImageEntry* image = find_image(*images, node->id);
      if (image == nullptr) return (void)fuse_reply_err(request, ESTALE);
      return reply_attributes(request, id, image_attributes(*image), catalog_timeout_seconds);
    }
  }
}

void operation_readlink(fuse_req_t request, fuse_ino_t id) {
  const auto node = decode(id);
  if (node && node->kind == NodeId::Kind::content)
    return with_tree(request, *node, [node](fuse_req_t waiting, Tree& tree) {
      const auto target = tree.read_link(node->inode);
      if (target)
        fuse_reply_readlink(waiting, target->c_str());
      else
        reply_error(waiting, target.error());
    });
  if (node && node->kind == NodeId::Kind::link) {
    const auto images = state_of(request).library.images();
    const FoundLink found = find_link(*images, node->id);
    if (found.link == nullptr) return (void)fuse_reply_err(request, ESTALE);
    const std::string target = std::to_string(found.link->target.value());
    return (void)fuse_reply_readlink(request, target.c_str());
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
  else if (node->kind == NodeId::Kind::image && !list_image(request, node->id, *directory))
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
