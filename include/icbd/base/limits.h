// Named limits, each with its reason. Everything that comes from outside is held against one of
// these before memory is allocated for it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace icbd::limits {

// Unit of verification and of fetching: what one SHA-256 in a manifest covers. 128 KiB is BTRFS's
// own limit for a compressed extent, and costs 0.025 % of the image in digests.
inline constexpr std::size_t chunk_size = 128 * 1024;

// Linux: NAME_MAX and PATH_MAX (linux/limits.h).
inline constexpr std::size_t name_length = 255;
inline constexpr std::size_t path_length = 4096;
// Linux: XATTR_NAME_MAX, XATTR_SIZE_MAX (linux/limits.h); BTRFS itself holds less than one leaf.
inline constexpr std::size_t xattr_name_length = 255;
inline constexpr std::size_t xattr_value_length = 65536;
inline constexpr std::size_t xattrs_per_file = 1024;

// Names of images: [A-Za-z0-9._-], so that they are safe in paths, URLs and iSCSI names.
inline constexpr std::size_t image_name_length = 100;
inline constexpr std::size_t message_length = 4096;
// A version's serial has 24 bits in a node id.
inline constexpr std::uint32_t version_serial = (1u << 24) - 1;

// The largest file of an image: chunk indexes are 32 bits, and 64 TiB is more than any desktop
// image; a stream that asks for 2^62 is refused before it touches the filesystem.
inline constexpr std::uint64_t file_size = std::uint64_t{64} << 40;
// Entries of one version: file indexes are 32 bits; 16 million files need about 5 GiB of memory.
inline constexpr std::uint32_t entries_per_version = 16u << 20;
// Directory depth, as the send stream's paths (PATH_MAX) allow it.
inline constexpr std::size_t directory_depth = 2048;

// Manifest: metadata pages are cut near this size; one entry with all its xattrs must still fit.
inline constexpr std::size_t metadata_page_target = 16 * 1024;
inline constexpr std::size_t manifest_page = 2 * 1024 * 1024;
inline constexpr std::size_t manifest_root = 64 * 1024 * 1024;

// Wire: one frame's payload. Four chunks and their headers, and a whole manifest page.
inline constexpr std::size_t frame_payload = 4 * 1024 * 1024;
// Extents of one request; a request of whole chunks at this count is 512 MiB.
inline constexpr std::size_t extents_per_request = 4096;
inline constexpr std::size_t pages_per_request = 4096;
inline constexpr std::size_t offered_parents = 256;
// A shape carries no data: 1 GiB of commands is about ten million files.
inline constexpr std::uint64_t shape_bytes = std::uint64_t{1} << 30;

// Send stream: one command. v2 data commands are at most 128 KiB of data plus attributes; the
// kernel's own send buffer is SZ_16K + BTRFS_MAX_COMPRESSED (fs/btrfs/send.c).
inline constexpr std::size_t sendstream_command = 256 * 1024;
// A compressed extent, packed as well as unpacked: BTRFS_MAX_COMPRESSED and BTRFS_MAX_UNCOMPRESSED
// (fs/btrfs/compression.h).
inline constexpr std::size_t extent_length = 128 * 1024;
// Commands of one stream: 64 TiB of data, the largest file, in pieces of 48 KiB as version 1 sends
// it are 1.4 billion; each inode has a dozen beside that.
inline constexpr std::uint64_t commands_per_stream = std::uint64_t{1} << 32;

// REST: a request body. Publishing sends a path and a message.
inline constexpr std::size_t rest_body = 64 * 1024;

}  // namespace icbd::limits
