// What the operations of the view share.
//
// One ViewState per mount; libfuse hands it to every operation as user data. The operations are
// free functions in view_directories.cpp and view_files.cpp, gathered in operations().
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "icbd/base/limits.h"
#include "icbd/fs/node_id.h"
#include "icbd/fs/view.h"

#include "connection_memory.h"
#include "device.h"
#include "fuse.h"
#include "listing.h"
#include "open_nodes.h"
#include "parked_request.h"
#include "recent_use.h"
#include "refresher.h"

namespace icbd::fs {

// Kept by the kernel without asking again. What is complete cannot change; a file that arrives
// becomes another node when it is whole. The kernel is told when the catalog changes (Refresher);
// the time is for what it would not have been told of because a process died.
inline constexpr double complete_timeout_seconds = 86'400.0;
inline constexpr double arriving_timeout_seconds = 1.0;
inline constexpr double catalog_timeout_seconds = 10.0;
// The site's own directories never go, and what is mounted on them must not.
inline constexpr double directory_timeout_seconds = 86'400.0;

// Names under which the view says what it knows of a version; the image's own are hidden.
inline constexpr std::string_view reserved_xattr_prefix = "user.icbd.";

struct ViewState {
  ViewState(Library& the_library, ViewOptions the_options, Logger the_logger)
      : library(the_library), options(std::move(the_options)), logger(std::move(the_logger)) {}

  Library& library;
  ViewOptions options;
  Logger logger;
  std::unique_ptr<ConnectionMemory> memory;
  std::unique_ptr<Device> device;
  std::unique_ptr<OpenNodes> nodes;
  ListingCache listings;
  RecentUse recent_use;
  std::unique_ptr<Refresher> refresher;
  std::jthread runner;
  std::atomic<bool> unmounting = false;  // or handing over: its end is no news
  std::atomic<std::size_t> parked = 0;
};

fuse_lowlevel_ops operations(const Features& features);

// The mount that a request belongs to.
ViewState& state_of(fuse_req_t request);

// Replies with the errno of an error.
void reply_error(fuse_req_t request, const Error& error);

// The same of an error that a tree gave for a node: what fails because its version is just being
// dropped is stale, upon which the kernel looks the path up again, and not an error of the disk.
void reply_tree_error(fuse_req_t request, const NodeId& node, const Error& error);

// Calls `then` with the content of the node's version: on this thread if it is here, else later
// from whoever has fetched its shape. `then` must reply. A node of an earlier generation is
// answered ESTALE, upon which the kernel looks its path up again.
using WithTree = std::function<void(fuse_req_t, Tree&)>;
void with_tree(fuse_req_t request, const NodeId& node, WithTree then);

// Entries as the kernel wants them. `generation` tells inodes apart that have one number at
// different times.
fuse_entry_param entry_of(const NodeId& node, const Attributes& attributes, double timeout,
                          std::uint64_t generation);
Attributes image_attributes(const ImageEntry& image);
const ImageEntry* find_image(const Library::Images& images, std::uint32_t id);
const ImageEntry* find_image(const Library::Images& images, std::string_view name);

// Directories: view_directories.cpp.
void operation_lookup(fuse_req_t, fuse_ino_t parent, const char* name);
void operation_getattr(fuse_req_t, fuse_ino_t, fuse_file_info*);
void operation_readlink(fuse_req_t, fuse_ino_t);
void operation_opendir(fuse_req_t, fuse_ino_t, fuse_file_info*);
void operation_readdir(fuse_req_t, fuse_ino_t, size_t size, off_t offset, fuse_file_info*);
void operation_readdirplus(fuse_req_t, fuse_ino_t, size_t size, off_t offset, fuse_file_info*);
void operation_releasedir(fuse_req_t, fuse_ino_t, fuse_file_info*);
// Files: view_files.cpp.
void operation_open(fuse_req_t, fuse_ino_t, fuse_file_info*);
void operation_read(fuse_req_t, fuse_ino_t, size_t size, off_t offset, fuse_file_info*);
void operation_lseek(fuse_req_t, fuse_ino_t, off_t offset, int whence, fuse_file_info*);
void operation_release(fuse_req_t, fuse_ino_t, fuse_file_info*);
void operation_getxattr(fuse_req_t, fuse_ino_t, const char* name, size_t size);
void operation_listxattr(fuse_req_t, fuse_ino_t, size_t size);
void operation_statfs(fuse_req_t, fuse_ino_t);

}  // namespace icbd::fs
