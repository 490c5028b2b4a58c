// The view: the read-only filesystem at the mountpoint.
//
// Purpose: mounts a FUSE filesystem with mount(2), serves kernel requests from a Library, and
// unmounts. libfuse decodes and encodes; the device is opened and mounted here (custom I/O).
// Lifecycle: mount() mounts, or takes over a mount whose process has ended, and starts the threads;
// the view serves until unmount(), hand_over() or the destructor, which unmounts. If somebody else
// unmounts it, on_end is called once, from a thread of the view.
// Outliving a process: whoever keeps copies of kept() can give them to the next process; readers
// then see neither the death of this one nor hand_over(), but as a delay.
// Guarantees: read-only, nosuid, nodev, default_permissions, allow_other. A read that has to wait
// holds no thread: its completion replies. An interrupted waiter is answered EINTR at once. Files
// that are whole are read by the kernel itself where it can (passthrough).
// Thread-safe.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "icbd/base/error.h"
#include "icbd/base/log.h"
#include "icbd/base/unique_fd.h"
#include "icbd/fs/library.h"

namespace icbd::fs {

// A directory of the site's own at the root of the view, and what is mounted on it (bind, with what
// is mounted below it); nothing: it is empty, for others to mount on. Images of its name are
// hidden.
struct ViewDirectory {
  std::string name;
  std::filesystem::path source;
};

// What makes the view fast or lasting and can be missing or switched off.
struct Features {
  bool passthrough = true;      // Linux 6.9: the kernel reads files that are whole by itself
  bool resend = true;           // Linux 6.9: sends again what a process had taken when it died;
                                // without it the view keeps requests itself
  bool directory_cache = true;  // the kernel remembers listings, and opens directories by itself
  bool readdirplus = true;      // listings bring attributes along

  bool operator==(const Features&) const = default;
};

// What a process leaves to the next one: /dev/fuse, and what is open.
struct KeptMount {
  unique_fd device;
  unique_fd memory;
};

struct ViewOptions {
  std::filesystem::path mountpoint;  // an existing directory
  std::string source = "icbd";       // shown in /proc/mounts
  std::vector<ViewDirectory> directories = {};
  unsigned threads = 8;                // that read /dev/fuse; none is held by waiting readers
  Features features = {};              // to be used if the kernel has them
  std::optional<KeptMount> kept = {};  // goes on with this mount instead of making one
  std::function<void()> on_end = {};   // the mount has gone without unmount() being called
};

// A file that is open and read through the view's process.
struct ServedFile {
  VersionSerial serial;
  InodeNumber inode;
  std::size_t handles = 0;
  bool whole = false;  // reopened, it would be read by the kernel itself
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
  // Stops serving and leaves the mount to whoever has copies of kept(): what is asked meanwhile
  // waits for them. Whatever the library still answers afterwards goes nowhere.
  void hand_over();

  // Descriptors to be kept, valid as long as the view lives.
  struct Kept {
    int device = -1;
    int memory = -1;
  };
  Kept kept() const;

  // The library shows something else than before: the kernel forgets what it remembers of that.
  // Returns at once; done by a thread of the view.
  void library_changed();

  // Files of the version that are open.
  std::size_t open_handles(VersionSerial serial) const;
  // Since somebody last looked the version up, or into it. A path that is being walked must not
  // lose its version twice: once is mended by the kernel, which walks it again.
  std::chrono::milliseconds quiet_for(VersionSerial serial) const;
  // What is here of the version goes: the kernel gives back what it keeps of it for later. Files of
  // it that are open can be read on, but are not opened again.
  void forget(VersionSerial serial);
  // The same, unless a file of the version is open; returns how many are.
  std::size_t forget_unless_open(VersionSerial serial);

  // What is in use of what was asked for.
  Features features() const;
  std::vector<ServedFile> served_files() const;
  // The longest time for which a thread has been busy with one request; requests that wait for the
  // network have none.
  std::chrono::milliseconds longest_operation() const;
  // timed_out if that is more than `longest`. Asks nothing through the kernel: a process that hangs
  // in its own mount could not be ended.
  Status check_responsive(std::chrono::milliseconds longest) const;

 private:
  explicit View(std::unique_ptr<ViewState> state);
  Status begin(bool taken_over);
  Status mount_directories();
  std::unique_ptr<ViewState> state_;
};

}  // namespace icbd::fs
