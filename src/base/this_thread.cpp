#include "icbd/base/this_thread.h"

#include <linux/sched.h>
#include <linux/sched/types.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace icbd {
namespace {

// A third of the weight of a thread that somebody waits for: enough to go on beside any of them.
constexpr int background_nice = 5;

// Ten times the weight of others.
constexpr int first_nice = -10;

id_t this_thread() {
  return static_cast<id_t>(gettid());
}

// sched_getattr(2) and sched_setattr(2), which C libraries do not have yet.
bool is_ordinary() {
  sched_attr attributes{};
  return syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) == 0 &&
         attributes.sched_policy == SCHED_NORMAL && attributes.sched_nice == 0;
}

// With SCHED_FLAG_RESET_ON_FORK, what the thread starts begins with a nice value of 0 again, see
// sched(7). Both are set, or neither.
bool schedule(int niceness, std::uint64_t flags) {
  sched_attr attributes{};
  attributes.size = sizeof attributes;
  attributes.sched_policy = SCHED_NORMAL;
  attributes.sched_flags = flags;
  attributes.sched_nice = niceness;
  return syscall(SYS_sched_setattr, 0, &attributes, 0) == 0;
}

}  // namespace

void work_in_background() {
  // Where the whole process has been told to give way even more, it does.
  if (getpriority(PRIO_PROCESS, this_thread()) < background_nice)
    setpriority(PRIO_PROCESS, this_thread(), background_nice);
}

WorkFirst::WorkFirst() {
  if (is_ordinary()) changed_ = schedule(first_nice, SCHED_FLAG_RESET_ON_FORK);
}

WorkFirst::~WorkFirst() {
  // To take the flag back needs more than a limit that lets the nice value be changed; it means
  // nothing at 0.
  if (changed_ && !schedule(0, 0)) setpriority(PRIO_PROCESS, this_thread(), 0);
}

}  // namespace icbd
