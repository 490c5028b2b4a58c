// Work that goes on beside the calling thread's own.
#pragma once

#include <functional>
#include <future>
#include <system_error>

#include "icbd/base/error.h"

namespace icbd {

// On a thread of its own; at once and on this one where none can be had. The future's destructor
// waits for the end of it, so nothing that `work` refers to may go before.
inline std::future<Status> in_background(const std::function<Status()>& work) {
  try {
    return std::async(std::launch::async, work);
  } catch (const std::system_error&) {
    std::promise<Status> done;
    done.set_value(work());
    return done.get_future();
  }
}

}  // namespace icbd
