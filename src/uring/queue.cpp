#include "icbd/uring/queue.h"

#include "plain_queue.h"
#include "ring_queue.h"

namespace icbd::uring {

Result<std::unique_ptr<Queue>> make_queue(const QueueOptions& options) {
  std::string why = "io_uring is switched off";
  if (options.ring) {
    auto ring = RingQueue::make(options);
    if (ring || ring.error().code() != ErrorCode::unsupported) return ring;
    why = ring.error().message();
  }
  return std::make_unique<PlainQueue>(options, std::move(why));
}

}  // namespace icbd::uring
