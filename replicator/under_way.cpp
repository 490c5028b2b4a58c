#include "under_way.h"

#include <algorithm>
#include <utility>

namespace icbd::replicator {
namespace {

using namespace std::chrono_literals;

// Who reads on behind bulk leaves to it what comes as soon as if it were asked for: all that he
// wants is next, and would cross the link twice. Who reads here and there has only that to lose.
constexpr double share_of_asking = 0.5;
// What was expected comes later when there is more to do: half as long again, and a moment.
constexpr double late_share = 1.5;
constexpr std::chrono::milliseconds a_moment{5};
// Of what asking takes, one more look counts for so much; and for no more than so many times what
// was known, so that a link that stood still once is not taken for a slow one.
constexpr double weight_of_one = 0.25;
constexpr double most_at_once = 4;

}  // namespace

void UnderWay::restart() {
  const std::lock_guard lock(mutex_);
  rate_.reset();
  begun_ = clock_.now();
}

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

void UnderWay::note_asking(Seconds took, std::size_t chunks) {
  const std::lock_guard lock(mutex_);
  // Of many at once only that it was fast says something about one.
  if (chunks != 1 && took >= asking_) return;
  asking_ += (std::min(took, asking_ * most_at_once) - asking_) * weight_of_one;
}

std::optional<UnderWay::Seconds> UnderWay::until(FileIndex file, ChunkIndex chunk) const {
  const std::lock_guard lock(mutex_);
  return until_locked(file, chunk);
}

// Within a batch as if all its chunks had the same to fetch: what each has takes longer to find out
// than the difference is worth.
std::optional<UnderWay::Seconds> UnderWay::until_locked(FileIndex file, ChunkIndex chunk) const {
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

std::optional<std::chrono::milliseconds> UnderWay::patience(const Wanted& wanted) const {
  const std::lock_guard lock(mutex_);
  const auto in_time = [](Seconds expected) {
    return std::min(longest_patience,
                    a_moment + std::chrono::ceil<std::chrono::milliseconds>(expected * late_share));
  };
  Seconds asking = asking_;
  if (rate_ && *rate_ > 0)
    asking += Seconds(static_cast<double>(wanted.before * limits::chunk_size) / *rate_);
  if (wanted.for_reader) return in_time(asking);
  const auto expected = until_locked(wanted.file, wanted.chunk);
  if (!expected) {
    const bool just_begun = clock_.now() - begun_ < first_moment;
    return just_begun || wanted.follows ? std::optional(first_patience) : std::nullopt;
  }
  if (*expected > (wanted.follows ? asking : asking * share_of_asking)) return std::nullopt;
  return in_time(*expected);
}

}  // namespace icbd::replicator
