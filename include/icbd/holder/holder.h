// The holder: the small process that outlives its worker.
//
// Purpose: starts a worker, keeps the descriptors that it hands over (the mount, its memory, a
// listening socket), and gives them to the next one when it dies, hangs or is replaced: so that
// whoever uses what stands behind them sees a delay at most. Speaks the protocols of a service
// manager towards the worker (icbd/base/service_manager.h), and is the main process for the real
// one. Knows nothing of filesystems and networks, and uses one thread.
// Lifecycle: run() returns when the worker has ended on its own account or was told to; what was
// kept is let go then, and what was mounted is unmounted if the worker did not do that itself.
//
// What the worker says, beside READY=1, WATCHDOG=1, FDSTORE=1 and what goes on to the real service
// manager as it is:
//   X_UNMOUNT=PATH   to be unmounted in the end; empty: nothing any more
//   X_UPGRADE=PATH   replace the worker by one of that program; empty: of its own, as installed now
// What the worker is told: ICBD_HOLDER is the holder's process number; ICBD_STARTS, how many
// workers there were before; ICBD_LAST_END, how the last one ended. SIGTERM and SIGINT go on to it
// as SIGTERM, SIGHUP when it is ready; SIGUSR2 asks it to hand over. To the holder, SIGUSR2 means
// X_UPGRADE= with nothing behind it.
//
// When the worker ends:
//   0                    the holder ends with 0
//   otherwise            before it was ready for the first time, the holder ends with the same
//   code;
//                        later a new one is started at once, again and again; one that dies by
//                        itself before it is ready, ten times in a row, ends the holder with 1
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "icbd/base/error.h"
#include "icbd/base/log.h"

namespace icbd::holder {

struct HolderOptions {
  std::vector<std::string> arguments;  // of the worker, its name first
  Logger logger;
  // A worker that was ready and says nothing for so long is killed. It is asked for a sign three
  // times within.
  std::chrono::milliseconds silence{30'000};
  // A new program that is not ready after so long is replaced by the one before.
  std::chrono::milliseconds upgrade_timeout{60'000};
};

// The exit code. An error only if nothing could be started at all. Must be called before any thread
// is started.
Result<int> run(const HolderOptions& options);

// For a worker: what the holder has said. Nothing if there is no holder.
struct WorkerStart {
  unsigned starts = 0;
  std::string last_end;
};
std::optional<WorkerStart> worker_start();

}  // namespace icbd::holder
