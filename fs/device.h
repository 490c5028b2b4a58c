// /dev/fuse, the mount and the libfuse session.
//
// Purpose: opens the device and mounts it here instead of through fusermount, and hands it to
// libfuse as custom I/O. That lets a holder keep the descriptor, lets a later process take over
// where this one ended, and lets replies carry what libfuse 3.14 does not know (passthrough).
// Lifecycle: mount_new() or take_over(); then run() on a thread of its own until the connection
// ends, stop() or hand_over() is called. The destructor destroys the session and leaves the mount
// as it is: detach() removes it. Every request must have been answered before the destructor runs,
// unless it was handed over.
// Taking over: the kernel says INIT once, so its bytes are kept and given to libfuse again, whose
// reply is swallowed; then FUSE_NOTIFY_RESEND has the kernel send every request again that the
// process before had taken and not answered. Where the kernel cannot, a journal of them in the
// memory does the same (request_journal.h).
// Thread-safe: everything but mount_new(), take_over() and run(), which are called once.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "icbd/base/error.h"
#include "icbd/fs/view.h"

#include "connection_memory.h"
#include "fuse.h"
#include "open_nodes.h"
#include "refresher.h"
#include "request_journal.h"

namespace icbd::fs {

struct ViewState;

// What libfuse hands to operations and to custom I/O.
struct SessionData {
  class Device* device = nullptr;
  ViewState* state = nullptr;
};

class Device final : public BackingFiles {
 public:
  struct Options {
    std::filesystem::path mountpoint;
    std::string source;
    Features wanted;
  };

  static Result<std::unique_ptr<Device>> mount_new(const Options& options, ConnectionMemory& memory,
                                                   const fuse_lowlevel_ops& operations,
                                                   ViewState& state);
  static Result<std::unique_ptr<Device>> take_over(unique_fd device, const Options& options,
                                                   ConnectionMemory& memory,
                                                   const fuse_lowlevel_ops& operations,
                                                   ViewState& state);
  ~Device() override;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  // Of /dev/fuse; valid as long as this lives.
  int fd() const { return fd_; }

  // Serves requests on `threads` threads; returns when the connection has ended, or when it was
  // stopped or handed over.
  void run(unsigned threads);
  // Waits until the kernel and we have agreed on what both can do. False if that does not happen in
  // time.
  bool wait_until_agreed(std::chrono::milliseconds time) const;
  // What is in use; true of all only after wait_until_agreed().
  Features features() const;
  // Takes the mount out of the tree: no new opens; what is open stays until the connection ends.
  void detach();
  // Makes run() return. Blocks until it has.
  void stop();
  // From now on nothing is answered: what was not, the kernel sends again to whoever takes over.
  void hand_over();

  // The `unique` of the request that this thread was given last.
  static std::uint64_t current_unique();

  // The longest time for which a thread has been busy with one request.
  std::chrono::milliseconds longest_operation() const;

  bool available() const override { return features().passthrough; }
  Result<std::uint32_t> add(int descriptor) override;
  void remove(std::uint32_t id) override;
  bool remove_if_there(std::uint32_t id) override;

  // The kernel forgets what it remembers of a node's attributes and pages, or of names. A node or
  // name that it does not remember is no error. Not to be called by a thread that serves a request.
  void invalidate_node(fuse_ino_t node);
  void invalidate_names(const std::vector<Invalidations::Name>& names);

 private:
  // What one of the threads that read the device is doing.
  struct Activity {
    std::atomic<std::int64_t> since{0};  // of the steady clock, in nanoseconds; 0: waiting
  };
  static constexpr std::size_t most_threads = 64;

  Device(ConnectionMemory& memory, Options options);
  static Result<std::unique_ptr<Device>> make(unique_fd device, const Options& options,
                                              ConnectionMemory& memory,
                                              const fuse_lowlevel_ops& operations,
                                              ViewState& state);

  static ssize_t read_hook(int fd, void* buffer, size_t size, void* data);
  static ssize_t writev_hook(int fd, iovec* vectors, int count, void* data);
  ssize_t read(int fd, void* buffer, size_t size);
  ssize_t writev(int fd, iovec* vectors, int count);
  ssize_t answer_init(int fd, const iovec* vectors, int count);
  void keep_init(const void* buffer, std::size_t length);
  void begin_anew();
  void go_on();
  void answer_pending();
  ssize_t read_request(int fd, void* buffer, size_t size);
  std::uint64_t offered() const;
  Activity& activity_of_this_thread();

  ConnectionMemory& memory_;
  const Options options_;
  SessionData data_;
  int fd_ = -1;  // the session's
  bool taken_over_ = false;
  std::atomic<bool> mounted_ = false;
  std::atomic<bool> handed_over_ = false;
  std::unique_ptr<RequestJournal> journal_;  // once agreed, if the kernel has no RESEND
  std::atomic<bool> journaling_ = false;
  fuse_session* session_ = nullptr;
  std::atomic<pthread_t> runner_{};
  std::atomic<bool> running_ = false;
  std::array<Activity, most_threads> activities_;
  std::atomic<std::size_t> activities_used_ = 0;
};

}  // namespace icbd::fs
