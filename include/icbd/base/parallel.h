// One thing done to many, by a few threads.
#pragma once

#include <cstddef>
#include <functional>
#include <stop_token>

#include "icbd/base/error.h"

namespace icbd {

// Calls `work` for each index below `count`, from at most `threads` threads, of which the caller's
// is one; with fewer where no more can be had. Returns when all have ended. After the first error,
// which is returned, no thread takes another index; `cancelled` once `stop` is requested. `work`
// must not throw.
Status in_parallel(std::size_t count, unsigned threads, const std::stop_token& stop,
                   const std::function<Status(std::size_t)>& work);

}  // namespace icbd
