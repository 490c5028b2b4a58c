// The view: the read-only filesystem at the mountpoint.
//
// Purpose: mounts a FUSE filesystem with mount(2), serves kernel requests from a Library, and
// unmounts. libfuse decodes and encodes; the device is opened and mounted here (custom I/O), so
// that a holder process can keep it later.
// Lifecycle: mount() mounts and starts the threads; the view serves until unmount() or the
// destructor. If somebody else unmounts it, on_end is called once, from a thread of the view.
// Guarantees: read-only, nosuid, nodev, default_permissions, allow_other. A read that has to wait
// holds no thread: its completion replies. An interrupted waiter is answered EINTR at once.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "icbd/base/error.h"
#include "icbd/base/log.h"
#include "icbd/fs/library.h"

namespace icbd::fs {

// A directory of the site's own at the root of the view, and what is mounted on it (bind, with what
// is mounted below it); nothing: it is empty, for others to mount on. Images of its name are
// hidden.
struct ViewDirectory {
  std::string name;
  std::filesystem::path source;
};

struct ViewOptions {
  std::filesystem::path mountpoint;  // an existing directory
  std::string source = "icbd";       // shown in /proc/mounts
  std::vector<ViewDirectory> directories = {};
  unsigned threads = 8;               // that read /dev/fuse; none is held by waiting readers
  std::function<void()> on_end = {};  // the mount has gone without unmount() being called
};

struct ViewState;  // what the operations share; private to fs/

class View {
 public:
  // The library must outlive the view.
  static Result<std::unique_ptr<View>> mount(Library& library, ViewOptions options, Logger logger);
  ~View();
  // Detaches the mount from the tree and ends the session; requests under way are aborted by the
  // kernel (ENOTCONN or ECONNABORTED for their callers).
  void unmount();
  // Files and directories of the version that are open.
  std::size_t open_handles(VersionSerial serial) const;

 private:
  explicit View(std::unique_ptr<ViewState> state);
  Status mount_directories();
  std::unique_ptr<ViewState> state_;
};

}  // namespace icbd::fs
