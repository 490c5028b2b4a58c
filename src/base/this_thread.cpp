#include "icbd/base/this_thread.h"

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

namespace icbd {
namespace {

// A third of the weight of a thread that somebody waits for: enough to go on beside any of them.
constexpr int background_nice = 5;

// Ten times the weight of others.
constexpr int first_nice = -10;

id_t this_thread() {
  return static_cast<id_t>(gettid());
}

// With the flag, what the thread starts begins with a nice value of 0 again, see sched(7).
bool set_reset_on_fork(bool on) {
  const sched_param none{};
  return sched_setscheduler(0, on ? SCHED_OTHER | SCHED_RESET_ON_FORK : SCHED_OTHER, &none) == 0;
}

}  // namespace

void work_in_background() {
  // Where the whole process has been told to give way even more, it does.
  if (getpriority(PRIO_PROCESS, this_thread()) < background_nice)
    setpriority(PRIO_PROCESS, this_thread(), background_nice);
}

WorkFirst::WorkFirst() {
  if (sched_getscheduler(0) != SCHED_OTHER || getpriority(PRIO_PROCESS, this_thread()) != 0) return;
  if (!set_reset_on_fork(true)) return;
  changed_ = setpriority(PRIO_PROCESS, this_thread(), first_nice) == 0;
  if (!changed_) set_reset_on_fork(false);
}

WorkFirst::~WorkFirst() {
  if (!changed_) return;
  setpriority(PRIO_PROCESS, this_thread(), 0);
  set_reset_on_fork(false);
}

}  // namespace icbd
