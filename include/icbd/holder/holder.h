// The holder: the small process that outlives its worker.
//
// Purpose: starts a worker, keeps the descriptors that it hands over (the mount, its memory, a
// listening socket), and gives them to the next one when it dies, hangs or is replaced: so that
// whoever uses what stands behind them sees a delay at most. The next one stands by already, with
// everything done that can be done in advance: it is forked from the holder, which has its program
// loaded and linked already; only another program, after an upgrade, is executed. The holder is the
// main process for the service manager, and watches the worker as that would
// (icbd/base/service_manager.h). It knows nothing of filesystems and networks, and uses one thread.
// Lifecycle: run() returns when the worker has ended on its own account or was told to; what was
// kept is let go then, and what was mounted is unmounted if the worker did not do that itself.
//
// What the worker says, beside READY=1, WATCHDOG=1, FDSTORE=1 and what goes on to the service
// manager as it is:
//   X_PREPARED=1     it waits for its turn
//   X_UNMOUNT=PATH   to be unmounted in the end; empty: nothing any more
//   X_UPGRADE=PATH   replace the worker by one of that program; empty: of its own, as installed now
// SIGTERM and SIGINT go on to it as SIGTERM, SIGHUP when it is ready; SIGUSR2 asks it to hand over.
// To the holder, SIGUSR2 means X_UPGRADE= with nothing behind it. The one that stands by hears of
// none of them: what may change until its turn comes it reads then.
//
// When the worker ends:
//   0            the holder ends with 0
//   otherwise    before it was ready for the first time, the holder ends with the same code; later
//                the next one goes on at once, again and again; ones that die by themselves before
//                they are ready, ten times in a row, end the holder with gave_up
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "icbd/base/error.h"
#include "icbd/base/log.h"
#include "icbd/base/unique_fd.h"

namespace icbd::holder {

// An exit code of its own, so that a service manager can tell it from what did not start at all: to
// begin anew, without what was kept, may help.
inline constexpr int gave_up = 3;

struct HolderOptions {
  std::vector<std::string> arguments;  // of a worker that is executed, its name first
  Logger logger;
  // What a worker of this very program does, in a process of its own, where Channel::open() finds
  // the holder; returns its exit code. Without it, all workers are executed: each is loaded and
  // linked anew then, which takes processor time when there may be none to spare.
  std::function<int()> work;
  // A worker that was ready and says nothing for so long is killed. It is asked for a sign three
  // times within.
  std::chrono::milliseconds silence{30'000};
  // A new program that is not prepared, or not ready, after so long is given up.
  std::chrono::milliseconds upgrade_timeout{60'000};
};

// The exit code. An error only if nothing could be started at all. Must be called before any thread
// is started.
Result<int> run(const HolderOptions& options);

struct Descriptor {
  std::string name;
  unique_fd descriptor;
};

// What a worker begins with.
struct Turn {
  std::vector<Descriptor> descriptors;  // that workers before it have given to keep
  unsigned starts = 0;                  // of workers before it
  std::string last_end;                 // how the last of them ended
};

// A worker's end. Thread-safe.
class Channel {
 public:
  // Null if this process has no holder.
  static std::unique_ptr<Channel> open();
  // Says that everything is prepared, and waits until it is this worker's turn. `cancelled` if it
  // will never be. To be called once.
  Result<Turn> wait() const;
  // Upgrades that have left this worker in its place.
  struct UpgradeFailures {
    unsigned count = 0;
    std::string last;  // why
  };
  UpgradeFailures upgrade_failures();

 private:
  explicit Channel(unique_fd socket) : socket_(std::move(socket)) {}
  unique_fd socket_;
  std::mutex mutex_;  // guards what is below
  UpgradeFailures upgrade_failures_;
};

}  // namespace icbd::holder
