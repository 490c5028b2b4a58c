#include "unpacker.h"

namespace icbd::wire {

Result<IncomingFrame> Unpacker::unpack(IncomingFrame frame, const PayloadBuffers& buffers) {
  if (frame.header.codec == 0) return frame;
  ICBD_ASSIGN(const codec::Algorithm algorithm, codec::parse_algorithm(frame.header.codec));
  auto& decompressor = decompressors_[algorithm];
  if (!decompressor) {
    ICBD_ASSIGN(decompressor, codec::make_decompressor(algorithm));
  }
  const PayloadBuffer plain = buffers.take(frame.header.plain_length);
  ICBD_TRY(decompressor->decompress(frame.payload, plain.bytes));
  frame.header.codec = 0;
  frame.header.payload_length = frame.header.plain_length;
  frame.buffer = plain.owner;
  frame.payload = plain.bytes;
  return frame;
}

}  // namespace icbd::wire
