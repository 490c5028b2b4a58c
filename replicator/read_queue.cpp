#include "icbd/replicator/read_queue.h"

#include <algorithm>
#include <cstring>

namespace icbd::replicator {

ReadJob::ReadJob(FileIndex file, ByteRange range, ReadDone done)
    : file_(file), range_(range), buffer_(range.length), done_(std::move(done)) {}

ReadJob::~ReadJob() {
  fail(Error(ErrorCode::cancelled, "the read was given up"));
}

void ReadJob::expect_part() {
  const std::lock_guard lock(mutex_);
  ++parts_;
}

void ReadJob::finish_part(ByteRange bytes_range, ByteView bytes) {
  {
    const std::lock_guard lock(mutex_);
    const ByteRange part = intersect(range_, bytes_range);
    if (done_ && !part.empty())
      std::memcpy(buffer_.data() + (part.offset - range_.offset),
                  bytes.data() + (part.offset - bytes_range.offset), part.length);
  }
  finish_part();
}

void ReadJob::finish_part() {
  ReadDone done;
  Bytes buffer;
  {
    const std::lock_guard lock(mutex_);
    if (--parts_ != 0 || !done_) return;
    done = std::exchange(done_, nullptr);
    buffer = std::move(buffer_);
  }
  done(std::move(buffer));
}

void ReadJob::fail(const Error& error) {
  ReadDone done;
  {
    const std::lock_guard lock(mutex_);
    done = std::exchange(done_, nullptr);
  }
  if (done) done(std::unexpected(error));
}

bool ReadJob::finished() const {
  const std::lock_guard lock(mutex_);
  return !done_;
}

bool ReadQueue::add(const ChunkMap& chunks, ChunkNumber chunk, const std::shared_ptr<ReadJob>& job,
                    bool& first) {
  const std::lock_guard lock(mutex_);
  if (chunks.state(chunk) == ChunkState::done) return false;
  job->expect_part();
  const auto [place, added] = waiting_.try_emplace(chunk);
  place->second.push_back(job);
  first = added;
  return true;
}

std::vector<std::shared_ptr<ReadJob>> ReadQueue::take(ChunkNumber chunk) {
  const std::lock_guard lock(mutex_);
  const auto found = waiting_.find(chunk);
  if (found == waiting_.end()) return {};
  return std::exchange(found->second, {});
}

std::vector<std::shared_ptr<ReadJob>> ReadQueue::take_and_finish(ChunkMap& chunks,
                                                                 ChunkNumber chunk) {
  const std::lock_guard lock(mutex_);
  chunks.advance(chunk, ChunkState::done);
  const auto found = waiting_.find(chunk);
  if (found == waiting_.end()) return {};
  auto jobs = std::move(found->second);
  waiting_.erase(found);
  return jobs;
}

bool ReadQueue::is_wanted(ChunkNumber chunk) {
  std::vector<std::shared_ptr<ReadJob>> dropped;  // destroyed after the lock is let go
  const std::lock_guard lock(mutex_);
  const auto found = waiting_.find(chunk);
  if (found == waiting_.end()) return false;
  std::vector<std::shared_ptr<ReadJob>>& jobs = found->second;
  const auto live =
      std::ranges::partition(jobs, [](const auto& job) { return job->finished(); }).begin();
  dropped.assign(std::make_move_iterator(jobs.begin()), std::make_move_iterator(live));
  jobs.erase(jobs.begin(), live);
  if (!jobs.empty()) return true;
  waiting_.erase(found);
  return false;
}

void ReadQueue::fail_all(const Error& error) {
  decltype(waiting_) all;
  {
    const std::lock_guard lock(mutex_);
    all.swap(waiting_);
  }
  for (auto& [chunk, jobs] : all)
    for (auto& job : jobs) job->fail(error);
}

std::size_t ReadQueue::waiting() const {
  const std::lock_guard lock(mutex_);
  std::size_t jobs = 0;
  for (const auto& [chunk, list] : waiting_) jobs += list.size();
  return jobs;
}

}  // namespace icbd::replicator
