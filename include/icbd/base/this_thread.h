// What the calling thread tells the kernel of itself.
#pragma once

namespace icbd {

// From now on this thread, and those that it starts, leave the processor to others that want it:
// for work that nobody waits for. Not to be taken back: that needs a privilege. (On Linux a nice
// value is a thread's own, see setpriority(2).)
void work_in_background();

// While this lives, its thread gets the processor before others, and what it starts does not: for
// the little that has to be done before everybody else can go on. Changes nothing without the
// privilege (CAP_SYS_NICE or RLIMIT_NICE), and where somebody has given the process a nice value
// already. To be destroyed by the thread that made it.
class WorkFirst {
 public:
  WorkFirst();
  ~WorkFirst();
  WorkFirst(const WorkFirst&) = delete;
  WorkFirst& operator=(const WorkFirst&) = delete;

 private:
  bool changed_ = false;
};

}  // namespace icbd
