// Node ids that are computed, not counted.
//
// The kernel names what it has looked up by 64-bit node ids. Ours are made of facts that survive a
// restart, so that no table must:
//
//   bit 63        clear for a file that was not whole when it was looked up: one that arrives and
//                 the same file when it is whole are two nodes, because a node keeps its mode of
//                 serving as long as it is open. What is no file has one node, so that whoever
//                 stands in a directory stays in it. Either is understood for ever.
//   bits 60 … 62  the version's generation, modulo 8: after it was dropped and has come again, its
//                 inode numbers belong to other files, and what the kernel still remembers is stale
//   bits 36 … 59  the version's serial in the catalog; 0 for the root, images and links
//   bits 0 … 35   the inode number; with serial 0: bits 32 … 35 say what it is, below is the id of
//                 the image or link, or the directory's place in its list
//
// An inode number of 2^36 or more (68 billion files made in one subvolume) is refused by
// encode(), and the view answers EOVERFLOW for that file alone.
// Pure and constexpr.
#pragma once

#include <cstdint>
#include <optional>

#include "icbd/base/types.h"

namespace icbd::fs {

struct NodeId {
  enum class Kind : std::uint8_t { root, image, link, directory, content };
  Kind kind = Kind::root;
  std::uint32_t id = 0;         // image, link, directory
  VersionSerial serial;         // content
  InodeNumber inode;            // content
  std::uint8_t generation = 0;  // content: modulo generations
  bool whole = false;           // content

  constexpr bool operator==(const NodeId&) const = default;

  static constexpr NodeId root() { return {}; }
  static constexpr NodeId of_image(std::uint32_t id) {
    return {.kind = Kind::image, .id = id, .serial = {}, .inode = {}};
  }
  // A symbolic link beside an image's versions.
  static constexpr NodeId of_link(std::uint32_t id) {
    return {.kind = Kind::link, .id = id, .serial = {}, .inode = {}};
  }
  // A directory of the site's own at the root.
  static constexpr NodeId of_directory(std::uint32_t id) {
    return {.kind = Kind::directory, .id = id, .serial = {}, .inode = {}};
  }
  static constexpr NodeId of_content(VersionSerial serial, InodeNumber inode, bool whole,
                                     std::uint64_t generation) {
    return {.kind = Kind::content,
            .serial = serial,
            .inode = inode,
            .generation = static_cast<std::uint8_t>(generation % generations),
            .whole = whole};
  }
  // False if the node is of a time before the version was dropped.
  constexpr bool is_of(std::uint64_t the_generation) const {
    return generation == the_generation % generations;
  }

  static constexpr std::uint64_t generations = 8;
};

// FUSE_ROOT_ID (linux/fuse.h): the kernel's name for the root of a mount.
inline constexpr std::uint64_t fuse_root_id = 1;
inline constexpr unsigned inode_bits = 36;
inline constexpr unsigned serial_bits = 24;
inline constexpr unsigned generation_shift = inode_bits + serial_bits;

constexpr std::optional<std::uint64_t> encode(const NodeId& node) {
  switch (node.kind) {
    case NodeId::Kind::root:
      return fuse_root_id;
    case NodeId::Kind::image:
      return (std::uint64_t{1} << 32) | node.id;
    case NodeId::Kind::link:
      return (std::uint64_t{2} << 32) | node.id;
    case NodeId::Kind::directory:
      return (std::uint64_t{3} << 32) | node.id;
    case NodeId::Kind::content:
      break;
  }
  if (node.inode.value() >> inode_bits != 0 || node.serial.value() >> serial_bits != 0 ||
      node.serial.value() == 0)
    return std::nullopt;
  return (std::uint64_t{node.whole} << 63) | (std::uint64_t{node.generation} << generation_shift) |
         (std::uint64_t{node.serial.value()} << inode_bits) | node.inode.value();
}

// The same; 0, which is no node, for one that cannot be encoded.
constexpr std::uint64_t id_of(const NodeId& node) {
  return encode(node).value_or(0);
}

// Nothing for a number that encode() never gives.
constexpr std::optional<NodeId> decode(std::uint64_t id) {
  if (id == fuse_root_id) return NodeId::root();
  const std::uint64_t inode = id & ((std::uint64_t{1} << inode_bits) - 1);
  const auto serial = static_cast<std::uint32_t>((id >> inode_bits) & ((1u << serial_bits) - 1));
  const bool whole = id >> 63 != 0;
  const std::uint64_t generation = (id >> generation_shift) % NodeId::generations;
  if (serial != 0)
    return NodeId::of_content(VersionSerial(serial), InodeNumber(inode), whole, generation);
  const auto which = static_cast<std::uint32_t>(inode);
  if (whole || generation != 0) return std::nullopt;
  if (inode >> 32 == 1) return NodeId::of_image(which);
  if (inode >> 32 == 2) return NodeId::of_link(which);
  if (inode >> 32 == 3) return NodeId::of_directory(which);
  return std::nullopt;
}

// st_ino: the same whether the file is whole or not, different between versions.
constexpr std::uint64_t inode_for_stat(std::uint64_t node_id) {
  return node_id & ((std::uint64_t{1} << generation_shift) - 1);
}

}  // namespace icbd::fs
