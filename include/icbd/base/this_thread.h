// What the calling thread tells the kernel of itself.
#pragma once

namespace icbd {

// From now on this thread, and those that it starts, leave the processor to others that want it:
// for work that nobody waits for. Not to be taken back: that needs a privilege. (On Linux a nice
// value is a thread's own, see setpriority(2).)
void work_in_background();

}  // namespace icbd
