// /dev/fuse, the mount and the libfuse session.
//
// Purpose: opens the device and mounts it here instead of through fusermount, and hands it to
// libfuse as custom I/O: a later holder process keeps the descriptor, and replies can be patched.
// Lifecycle: open_and_mount(); run() on a thread of its own until the connection ends or stop() is
// called; the destructor unmounts if that has not happened, and destroys the session. Every
// request must have been answered before the destructor runs.
// Thread-safe: stop() and detach() may be called from any thread.
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>

#include "icbd/base/error.h"

#include "fuse.h"

namespace icbd::fs {

class Device {
 public:
  static Result<std::unique_ptr<Device>> open_and_mount(const std::filesystem::path& mountpoint,
                                                        const std::string& source,
                                                        const fuse_lowlevel_ops& operations,
                                                        void* user_data);
  ~Device();

  // Serves requests on `threads` threads; returns when the connection has ended. To be called
  // once.
  void run(unsigned threads);
  // Takes the mount out of the tree: no new opens; what is open stays until stop().
  void detach();
  // Makes run() return. Blocks until it has.
  void stop();

 private:
  Device() = default;

  std::filesystem::path mountpoint_;
  bool mounted_ = false;
  fuse_session* session_ = nullptr;
  std::atomic<pthread_t> runner_{};
  std::atomic<bool> running_ = false;
};

}  // namespace icbd::fs
