#include "write_back.h"

#include <algorithm>
#include <system_error>
#include <utility>

namespace icbd::replicator {

void WriteBack::written(FileIndex file, ByteRange range) {
  std::unique_lock lock(mutex_);
  gather(file, range);
  if (gathered_.bytes < piece_bytes) return;
  const Piece piece = std::exchange(gathered_, {});
  waiting_bytes_ += piece.bytes;
  if (!hand_over(piece)) {
    lock.unlock();
    begin(piece);
    return;
  }
  changed_.wait(lock, [&] { return waiting_bytes_ <= most_waiting_bytes; });
}

// With mutex_ held.
void WriteBack::gather(FileIndex file, ByteRange range) {
  if (gathered_.bytes == 0 || gathered_.file != file) {
    gathered_ = {.file = file, .range = range, .bytes = range.length};
    return;
  }
  const std::uint64_t begin = std::min(gathered_.range.offset, range.offset);
  const std::uint64_t end = std::max(gathered_.range.end(), range.end());
  gathered_.range = {begin, end - begin};
  gathered_.bytes += range.length;
}

// With mutex_ held. False where no thread can be had: then whoever writes does it.
bool WriteBack::hand_over(const Piece& piece) {
  try {
    if (!thread_) thread_.emplace("icbd-writeback", 1);
  } catch (const std::system_error&) {
    return false;
  }
  thread_->post([this, piece] { begin(piece); });
  return true;
}

void WriteBack::begin(const Piece& piece) {
  begin_(piece.file, piece.range);
  {
    const std::lock_guard lock(mutex_);
    waiting_bytes_ -= piece.bytes;
  }
  changed_.notify_all();
}

}  // namespace icbd::replicator
