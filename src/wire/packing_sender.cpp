#include "packing_sender.h"

namespace icbd::wire {
namespace {

// Below it there is little to gain, and a packet is sent all the same.
constexpr std::size_t smallest = 1024;

}  // namespace

PackingSender::PackingSender(FrameSocket& socket, codec::Setting setting)
    : socket_(socket), setting_(setting) {
  if (setting.algorithm == codec::Algorithm::none) return;
  if (auto compressor = codec::make_compressor(setting)) compressor_ = std::move(*compressor);
}

Status PackingSender::send(OutgoingFrame frame, ByteView payload) {
  if (!compressor_ || payload.size() < smallest) return socket_.send(frame, payload);
  ICBD_ASSIGN(const bool smaller, compressor_->compress(payload, packed_));
  if (!smaller) return socket_.send(frame, payload);
  frame.codec = static_cast<std::uint8_t>(setting_.algorithm);
  frame.plain_length = static_cast<std::uint32_t>(payload.size());
  return socket_.send(frame, packed_);
}

}  // namespace icbd::wire
