// The master: a repository that publishes, and serves its versions over REST and data service.
//
// Lifecycle: start() opens the repository and listens; when it returns, both services answer.
// stop(), or the destructor, ends every connection and cancels a publication under way.
// Guarantees: thread-safe. Publications run one at a time on a thread of their own.
#pragma once

#include <memory>
#include <string>

#include "icbd/base/error.h"
#include "icbd/base/log.h"
#include "icbd/config/config.h"

namespace icbd::master {

class Master {
 public:
  static Result<std::unique_ptr<Master>> start(const config::Master& configuration, Logger logger);
  ~Master();
  void stop();

  // Where the services really listen, as "127.0.0.1:5009"; with port 0 configured, the one taken.
  const std::string& rest_address() const;
  const std::string& data_address() const;

  // Applies what can change while it runs (config::Reload::effective).
  void reconfigure(const config::Master& configuration);
  // Goes through what caches wait for; if that hangs, so does this. Not beside stop().
  Status healthy();

 private:
  struct State;
  explicit Master(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace icbd::master
