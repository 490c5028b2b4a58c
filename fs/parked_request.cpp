#include "parked_request.h"

#include <cerrno>

namespace icbd::fs {

std::shared_ptr<ParkedRequest> ParkedRequest::park(fuse_req_t request,
                                                   std::atomic<std::size_t>& parked) {
  std::shared_ptr<ParkedRequest> self(new ParkedRequest(request, parked));
  // Calls interrupted() at once if the interrupt came before.
  fuse_req_interrupt_func(request, &ParkedRequest::interrupted, self.get());
  return self;
}

ParkedRequest::ParkedRequest(fuse_req_t request, std::atomic<std::size_t>& parked)
    : request_(request), parked_(parked) {
  ++parked_;
}

ParkedRequest::~ParkedRequest() {
  // A completion that was dropped must not leave its caller hanging.
  answer([](fuse_req_t request) { fuse_reply_err(request, EIO); });
  --parked_;
  parked_.notify_all();
}

void ParkedRequest::answer(const std::function<void(fuse_req_t)>& reply) {
  if (answered_.exchange(true)) return;
  // Waits for an interrupted() that is running now: it has lost the race for answered_ and returns
  // without touching us, but until then it holds a pointer to us.
  fuse_req_interrupt_func(request_, nullptr, nullptr);
  reply(request_);
}

void ParkedRequest::interrupted(fuse_req_t request, void* data) {
  auto* const self = static_cast<ParkedRequest*>(data);
  // Whoever sets answered_ replies. If it is us, `self` may be destroyed from here on.
  if (!self->answered_.exchange(true)) fuse_reply_err(request, EINTR);
}

}  // namespace icbd::fs
