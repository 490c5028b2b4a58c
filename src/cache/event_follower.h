// Listens to the master's announcements, and tells the replicator.
//
// Lifecycle: listens from construction to destruction on a thread of its own; connects again by
// itself. What is missed meanwhile is found by comparing catalogs, which a new connection leads to.
#pragma once

#include <string>
#include <thread>

#include "icbd/base/log.h"
#include "icbd/replicator/replicator.h"

namespace icbd::cache {

class EventFollower {
 public:
  // `address`: HOST:PORT of the master's REST. The replicator must outlive it.
  EventFollower(std::string address, replicator::Replicator& replicator, Logger logger);

 private:
  void follow(std::stop_token stop);

  const std::string address_;
  replicator::Replicator& replicator_;
  const Logger logger_;
  std::jthread thread_;
};

}  // namespace icbd::cache
