// The cache: a repository that follows a master, and shows every version at the mountpoint.
//
// Purpose: where view and replicator meet. Wires repository, remote source, replicator, view and
// REST together, in that order.
// Lifecycle: start() returns when the view is mounted, or taken over from an earlier process, and
// REST answers; an unreachable master is no error then: what is complete is served. stop(), or the
// destructor, unmounts, ends arrivals with a checkpoint and closes everything; hand_over() does the
// same but for unmounting, so that the process that gets the same descriptors goes on.
// Guarantees: thread-safe. A clean stop loses nothing that has arrived.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "icbd/base/error.h"
#include "icbd/base/log.h"
#include "icbd/config/config.h"
#include "icbd/holder/holder.h"

namespace icbd::fs {
class View;
}

namespace icbd::cache {

// What a worker begins with; without a holder, nothing.
struct Inheritance {
  holder::Channel* holder = nullptr;  // must outlive the cache
  holder::Turn turn;
};

class Cache {
 public:
  // `on_unmounted`: somebody else took the mount away; called once, from another thread.
  static Result<std::unique_ptr<Cache>> start(const config::Cache& configuration, Logger logger,
                                              Inheritance inheritance,
                                              std::function<void()> on_unmounted);
  ~Cache();
  void stop();
  void hand_over();

  // Where REST really listens; with port 0 configured, the one taken.
  const std::string& rest_address() const;

  // Applies what can change while it runs (config::Reload::effective).
  void reconfigure(const config::Cache& configuration);
  // Goes through what readers wait for; if that hangs, so does this, or it is an error. Asks
  // nothing of the view through the kernel: a process that hangs in its own mount cannot be
  // replaced. Not beside stop().
  Status healthy();

 private:
  struct State;
  explicit Cache(std::unique_ptr<State> state);
  void end(const std::function<void(fs::View&)>& leave);
  std::unique_ptr<State> state_;
};

}  // namespace icbd::cache
