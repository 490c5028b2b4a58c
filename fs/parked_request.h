// A kernel request that waits for a completion without holding a thread.
//
// Lifecycle: park() when the operation cannot be answered at once; keep the shared_ptr in the
// completion; answer() runs the reply at most once. If the waiting process is interrupted first,
// the request is answered EINTR and the completion's answer() does nothing.
// Thread-safe. The counter lets the view wait until none is left before it destroys the session.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "fuse.h"

namespace icbd::fs {

class ParkedRequest {
 public:
  static std::shared_ptr<ParkedRequest> park(fuse_req_t request, std::atomic<std::size_t>& parked);
  ~ParkedRequest();
  ParkedRequest(const ParkedRequest&) = delete;
  ParkedRequest& operator=(const ParkedRequest&) = delete;

  void answer(const std::function<void(fuse_req_t)>& reply);

 private:
  ParkedRequest(fuse_req_t request, std::atomic<std::size_t>& parked);
  static void interrupted(fuse_req_t request, void* data);

  fuse_req_t request_;
  std::atomic<std::size_t>& parked_;
  std::atomic<bool> answered_ = false;
};

}  // namespace icbd::fs
