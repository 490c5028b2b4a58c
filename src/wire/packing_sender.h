// Sends replies that are no extents, packed where it is worth it.
//
// Lifecycle: one per connection. Not thread-safe.
#pragma once

#include <memory>
#include <optional>

#include "icbd/codec/codec.h"

#include "frame_socket.h"

namespace icbd::wire {

class PackingSender {
 public:
  // `none` in `setting`: everything goes as it is.
  PackingSender(FrameSocket& socket, codec::Setting setting);
  Status send(OutgoingFrame frame, ByteView payload);

 private:
  FrameSocket& socket_;
  codec::Setting setting_;
  std::unique_ptr<codec::Compressor> compressor_;  // null: none
  Bytes packed_;
};

}  // namespace icbd::wire
