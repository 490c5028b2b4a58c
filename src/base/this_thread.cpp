#include "icbd/base/this_thread.h"

#include <sys/resource.h>
#include <unistd.h>

namespace icbd {
namespace {

// A third of the weight of a thread that somebody waits for: enough to go on beside any of them.
constexpr int background_nice = 5;

}  // namespace

void work_in_background() {
  const auto thread = static_cast<id_t>(gettid());
  // Where the whole process has been told to give way even more, it does.
  if (getpriority(PRIO_PROCESS, thread) < background_nice)
    setpriority(PRIO_PROCESS, thread, background_nice);
}

}  // namespace icbd
