// Tells the kernel to forget what it remembers of the catalog's directories when they change.
//
// Purpose: names and listings of images and versions may then be remembered for longer than a new
// version may stay unseen. Compares the library's picture with the one before, and invalidates
// what differs: listings and attributes of the root, of images and of links, and names that have
// gone or lead elsewhere.
// Lifecycle: start() after the device serves, stop() before it goes; both once. Runs a thread of
// its own that holds no lock: an invalidation waits for whoever looks something up in that
// directory, who may be waiting for us (fs/fuse/inode.c, dir.c).
// Guarantees: changed() is thread-safe and returns at once.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>

#include "icbd/fs/library.h"
#include "icbd/fs/node_id.h"

namespace icbd::fs {

// What one change asks for; names are of the directory `parent`.
struct Invalidations {
  std::vector<std::uint64_t> nodes;
  struct Name {
    std::uint64_t parent = 0;
    std::string name;
  };
  std::vector<Name> names;
};

// From one picture to the next. Of no picture at all: every listing that can change; names stay,
// because whoever stands in a directory would lose it: one that leads to what has gone meanwhile is
// answered ESTALE, upon which the kernel looks it up again.
Invalidations differences(const Library::Images* before, const Library::Images& after);

class Refresher {
 public:
  using InvalidateNode = std::function<void(std::uint64_t node)>;
  using InvalidateNames = std::function<void(std::vector<Invalidations::Name> names)>;
  Refresher(Library& library, InvalidateNode node, InvalidateNames names);
  ~Refresher();

  // `anew`: an earlier process may have died before it told the kernel of a change.
  void start(bool anew);
  void stop();
  void changed();

 private:
  void run(const std::stop_token& stop);

  Library& library_;
  InvalidateNode invalidate_node_;
  InvalidateNames invalidate_names_;
  std::shared_ptr<const Library::Images> shown_;  // only the thread touches it once it runs
  std::mutex mutex_;                              // guards changed_
  std::condition_variable_any wake_;
  bool changed_ = false;
  std::jthread thread_;
};

}  // namespace icbd::fs
