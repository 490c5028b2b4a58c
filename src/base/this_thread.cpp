#include "icbd/base/this_thread.h"

#include <sched.h>
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

// sched_getattr(2) and sched_setattr(2), which C libraries do not have yet; and whose header cannot
// be included beside theirs (include/uapi/linux/sched/types.h: sched_attr, SCHED_ATTR_SIZE_VER0).
struct SchedulingAttributes {
  std::uint32_t size = sizeof(SchedulingAttributes);
  std::uint32_t policy = SCHED_OTHER;
  std::uint64_t flags = 0;
  std::int32_t niceness = 0;
  std::uint32_t priority = 0;
  std::uint64_t runtime = 0;
  std::uint64_t deadline = 0;
  std::uint64_t period = 0;
};
static_assert(sizeof(SchedulingAttributes) == 48);

// SCHED_FLAG_RESET_ON_FORK.
constexpr std::uint64_t reset_on_fork = 1;

bool is_ordinary() {
  SchedulingAttributes found;
  return syscall(SYS_sched_getattr, 0, &found, sizeof found, 0) == 0 &&
         found.policy == SCHED_OTHER && found.niceness == 0;
}

// With reset_on_fork, what the thread starts begins with a nice value of 0 again, see
// sched(7). Both are set, or neither.
bool schedule(int niceness, std::uint64_t flags) {
  SchedulingAttributes attributes;
  attributes.flags = flags;
  attributes.niceness = niceness;
  return syscall(SYS_sched_setattr, 0, &attributes, 0) == 0;
}

}  // namespace

void work_in_background() {
  // Where the whole process has been told to give way even more, it does.
  if (getpriority(PRIO_PROCESS, this_thread()) < background_nice)
    setpriority(PRIO_PROCESS, this_thread(), background_nice);
}

WorkFirst::WorkFirst() {
  if (is_ordinary()) changed_ = schedule(first_nice, reset_on_fork);
}

WorkFirst::~WorkFirst() {
  // To take the flag back needs more than a limit that lets the nice value be changed; it means
  // nothing at 0.
  if (changed_ && !schedule(0, 0)) setpriority(PRIO_PROCESS, this_thread(), 0);
}

}  // namespace icbd
