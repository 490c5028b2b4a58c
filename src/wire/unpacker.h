// Packed payloads back to plain ones.
//
// Lifecycle: one for each reply or connection; makes what it needs when it first meets a codec.
// Guarantees: the plain length was held against limits::frame_payload when the header was read, and
// is what comes out, or the frame is `corrupt`. Not thread-safe.
#pragma once

#include <map>
#include <memory>

#include "icbd/codec/codec.h"

#include "frame_socket.h"

namespace icbd::wire {

class Unpacker {
 public:
  // The same frame, its payload plain.
  Result<IncomingFrame> unpack(IncomingFrame frame, const PayloadBuffers& buffers);

 private:
  std::map<codec::Algorithm, std::unique_ptr<codec::Decompressor>> decompressors_;
};

}  // namespace icbd::wire
