// Names: lookup, attributes, listings, symbolic links.

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <functional>
#include <span>

#include "view_state.h"

namespace icbd::fs {
namespace {

// As it is looked up now: an arriving file is another node when it is whole.
NodeId content_node(VersionSerial serial, InodeNumber inode, std::uint32_t mode, Tree& tree) {
  const bool whole = !S_ISREG(mode) || tree.whole(inode);
  return NodeId::of_content(serial, inode, whole, tree.generation());
}

// How long the kernel may remember a node of a version and its attributes. Times and blocks of what
// is arriving become those of the filesystem.
double timeout_of(const NodeId& node, const Tree& tree) {
  return node.whole && tree.complete() ? complete_timeout_seconds : arriving_timeout_seconds;
}

std::optional<VersionNumber> parse_number(std::string_view name) {
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error != std::errc() || end != name.data() + name.size() || number == 0 || name[0] == '0')
    return std::nullopt;
  return VersionNumber(number);
}

NodeId version_node(const VersionEntry& version) {
  return NodeId::of_content(version.serial, subvolume_root, true, version.generation);
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
    if (version == image->versions.end()) return (void)fuse_reply_err(request, ENOENT);
    state_of(request).recent_use.note(version->serial);
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
    if (!attributes) return reply_tree_error(waiting, parent, attributes.error());
    // A file handle is resolved by looking up "." in it, which must lead to the node it is of.
    const NodeId node = name == "." ? parent
                                    : content_node(parent.serial, InodeNumber(attributes->st_ino),
                                                   attributes->st_mode, tree);
    reply_entry(waiting, node, *attributes, timeout_of(node, tree), tree.generation());
  });
}

// ---- listings ------------------------------------------------------------------------------

// Cookies: 1 and 2 are "." and ".."; then what the entry is says where it stands.
constexpr std::uint64_t first_cookie = 3;
constexpr std::uint64_t kind_cookie(unsigned kind, std::uint64_t id) {
  return (std::uint64_t{kind} << 32) + first_cookie + id;
}

Listing new_listing(const NodeId& node, std::shared_ptr<const void> made_of) {
  Listing listing{.items = {}, .made_of = std::move(made_of)};
  listing.items.push_back({1, ".", node, S_IFDIR});
  listing.items.push_back({2, "..", node, S_IFDIR});
  return listing;
}

Listing list_root(const ViewState& state, const std::shared_ptr<const Library::Images>& images) {
  Listing listing = new_listing(NodeId::root(), images);
  for (std::uint32_t i = 0; i < state.options.directories.size(); ++i)
    listing.items.push_back(
        {kind_cookie(0, i), state.options.directories[i].name, NodeId::of_directory(i), S_IFDIR});
  for (const ImageEntry& image : *images)
    if (!find_directory(state, image.name))
      listing.items.push_back(
          {kind_cookie(1, image.id), image.name, NodeId::of_image(image.id), S_IFDIR});
  std::ranges::sort(listing.items, {}, &Listing::Item::cookie);
  return listing;
}

Listing list_image(const ImageEntry& image, const std::shared_ptr<const Library::Images>& images) {
  Listing listing = new_listing(NodeId::of_image(image.id), images);
  for (const VersionEntry& version : image.versions)
    listing.items.push_back({kind_cookie(0, version.number.value()),
                             std::to_string(version.number.value()), version_node(version),
                             S_IFDIR});
  for (const LinkEntry& link : image.links)
    listing.items.push_back(
        {kind_cookie(1, link.id), link.name, NodeId::of_link(link.id), S_IFLNK});
  std::ranges::sort(listing.items, {}, &Listing::Item::cookie);
  return listing;
}

Result<Listing> list_content(const NodeId& node, Tree& tree) {
  ICBD_ASSIGN(const auto entries, tree.list(node.inode));
  Listing listing = new_listing(node, nullptr);
  listing.items.reserve(entries.size() + 2);
  for (std::uint64_t i = 0; i < entries.size(); ++i)
    listing.items.push_back(
        {first_cookie + i, entries[i].name,
         NodeId::of_content(node.serial, entries[i].inode, true, tree.generation()),
         entries[i].mode});
  return listing;
}

// What a reader of a directory asks for.
struct Piece {
  std::size_t size = 0;
  std::uint64_t after = 0;  // a cookie
  bool plus = false;        // with attributes
};

// Adds one entry to the buffer and returns how much room it needs.
using AddEntry = std::function<std::size_t(std::span<char> buffer, const Listing::Item& item)>;

void reply_listing(fuse_req_t request, const Listing& listing, const Piece& piece,
                   const AddEntry& add) {
  std::vector<char> buffer(piece.size);
  std::size_t used = 0;
  for (std::size_t i = listing.after(piece.after); i < listing.items.size(); ++i) {
    const std::span<char> room = std::span(buffer).subspan(used);
    const std::size_t needed = add(room, listing.items[i]);
    if (needed > room.size()) break;
    used += needed;
  }
  fuse_reply_buf(request, buffer.data(), used);
}

std::size_t add_name(fuse_req_t request, std::span<char> buffer, const Listing::Item& item) {
  struct stat attributes{};
  attributes.st_ino = inode_for_stat(id_of(item.node));
  attributes.st_mode = item.mode;
  return fuse_add_direntry(request, buffer.data(), buffer.size(), item.name.c_str(), &attributes,
                           static_cast<off_t>(item.cookie));
}

// Without a node number the kernel takes the name alone.
std::size_t add_name_plus(fuse_req_t request, std::span<char> buffer, const Listing::Item& item) {
  fuse_entry_param entry{};
  entry.attr.st_ino = inode_for_stat(id_of(item.node));
  entry.attr.st_mode = item.mode;
  return fuse_add_direntry_plus(request, buffer.data(), buffer.size(), item.name.c_str(), &entry,
                                static_cast<off_t>(item.cookie));
}

std::size_t add_entry_plus(fuse_req_t request, Tree& tree, std::span<char> buffer,
                           const Listing::Item& item) {
  // Not worth asking for if there is no room for it.
  const std::size_t needed =
      fuse_add_direntry_plus(request, nullptr, 0, item.name.c_str(), nullptr, 0);
  if (needed > buffer.size()) return needed;
  const auto attributes = tree.attributes(item.node.inode);
  if (!attributes || item.cookie < first_cookie) return add_name_plus(request, buffer, item);
  const NodeId node = content_node(item.node.serial, item.node.inode, attributes->st_mode, tree);
  const fuse_entry_param entry =
      entry_of(node, *attributes, timeout_of(node, tree), tree.generation());
  return fuse_add_direntry_plus(request, buffer.data(), buffer.size(), item.name.c_str(), &entry,
                                static_cast<off_t>(item.cookie));
}

void read_content(fuse_req_t request, fuse_ino_t id, const NodeId& node, const Piece& piece) {
  with_tree(request, node, [node, id, piece](fuse_req_t waiting, Tree& tree) {
    ListingCache& cache = state_of(waiting).listings;
    auto listing = cache.find(id, nullptr);
    if (!listing) {
      auto made = list_content(node, tree);
      if (!made) return reply_tree_error(waiting, node, made.error());
      listing = std::make_shared<const Listing>(std::move(*made));
      cache.keep(id, listing);
    }
    reply_listing(waiting, *listing, piece, [&](std::span<char> buffer, const Listing::Item& item) {
      return piece.plus ? add_entry_plus(waiting, tree, buffer, item)
                        : add_name(waiting, buffer, item);
    });
  });
}

// Of the root, an image or one of the site's own directories.
std::shared_ptr<const Listing> catalog_listing(ViewState& state, fuse_ino_t id,
                                               const NodeId& node) {
  const auto images = state.library.images();
  if (auto known = state.listings.find(id, images)) return known;
  std::shared_ptr<const Listing> listing;
  if (node.kind == NodeId::Kind::root) {
    listing = std::make_shared<const Listing>(list_root(state, images));
  } else if (node.kind == NodeId::Kind::image) {
    const ImageEntry* image = find_image(*images, node.id);
    if (image == nullptr) return nullptr;
    listing = std::make_shared<const Listing>(list_image(*image, images));
  } else {
    listing = std::make_shared<const Listing>(new_listing(node, images));
  }
  state.listings.keep(id, listing);
  return listing;
}

void read_directory(fuse_req_t request, fuse_ino_t id, const Piece& piece) {
  const auto node = decode(id);
  if (!node) return (void)fuse_reply_err(request, ESTALE);
  if (node->kind == NodeId::Kind::content) return read_content(request, id, *node, piece);
  const auto listing = catalog_listing(state_of(request), id, *node);
  if (!listing) return (void)fuse_reply_err(request, ESTALE);
  reply_listing(request, *listing, piece, [&](std::span<char> buffer, const Listing::Item& item) {
    return piece.plus ? add_name_plus(request, buffer, item) : add_name(request, buffer, item);
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
      if (!attributes) return reply_tree_error(waiting, *node, attributes.error());
      reply_attributes(waiting, id, *attributes, timeout_of(*node, tree));
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
        reply_tree_error(waiting, *node, target.error());
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
  // Said once: from then on the kernel opens directories by itself, and remembers all listings.
  if (state_of(request).options.features.directory_cache)
    return (void)fuse_reply_err(request, ENOSYS);
  const auto node = decode(id);
  if (!node) return (void)fuse_reply_err(request, ESTALE);
  if (node->kind == NodeId::Kind::content)
    return with_tree(request, *node, [info = *info](fuse_req_t waiting, Tree&) {
      fuse_reply_open(waiting, &info);
    });
  fuse_reply_open(request, info);
}

void operation_readdir(fuse_req_t request, fuse_ino_t id, size_t size, off_t offset,
                       fuse_file_info*) {
  read_directory(request, id,
                 {.size = size, .after = static_cast<std::uint64_t>(offset), .plus = false});
}

void operation_readdirplus(fuse_req_t request, fuse_ino_t id, size_t size, off_t offset,
                           fuse_file_info*) {
  read_directory(request, id,
                 {.size = size, .after = static_cast<std::uint64_t>(offset), .plus = true});
}

void operation_releasedir(fuse_req_t request, fuse_ino_t, fuse_file_info*) {
  fuse_reply_err(request, 0);
}

}  // namespace icbd::fs
