#include "under_way.h"

#include <algorithm>
#include <utility>

namespace icbd::replicator {

const UnderWay::Batch& UnderWay::asked(Batch batch) {
  const std::lock_guard lock(mutex_);
  return batches_.emplace_back(std::move(batch));
}

void UnderWay::ended(const Batch& batch) {
  const std::lock_guard lock(mutex_);
  const auto found =
      std::ranges::find_if(batches_, [&](const Batch& other) { return &other == &batch; });
  if (found != batches_.end()) batches_.erase(found);
}

void UnderWay::set_rate(double rate) {
  const std::lock_guard lock(mutex_);
  rate_ = rate;
}

// Within a batch as if all its chunks had the same to fetch: what each has takes longer to find out
// than the difference is worth.
std::optional<UnderWay::Seconds> UnderWay::until(FileIndex file, ChunkIndex chunk) const {
  const std::lock_guard lock(mutex_);
  if (!rate_ || *rate_ <= 0) return std::nullopt;
  double ahead = 0;
  for (const Batch& batch : batches_) {
    std::size_t to_come = 0;
    bool found = false;
    for (const ChunkTask& task : batch.chunks) {
      if (chunks_.state(chunks_.number(task.file, task.chunk)) != ChunkState::done) ++to_come;
      found = task.file == file && task.chunk == chunk;
      if (found) break;
    }
    ahead += static_cast<double>(batch.bytes) * static_cast<double>(to_come) /
             static_cast<double>(std::max<std::size_t>(1, batch.chunks.size()));
    if (found) break;
  }
  return Seconds(ahead / *rate_);
}

}  // namespace icbd::replicator
