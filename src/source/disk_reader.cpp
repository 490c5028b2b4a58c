#include "disk_reader.h"

#include <fmt/format.h>
#include <pthread.h>

#include <algorithm>
#include <optional>

#include "icbd/base/limits.h"

namespace icbd::source {
namespace {

constexpr std::chrono::milliseconds idle{60'000};

ByteRange aligned(ByteRange range) {
  const std::uint64_t begin = range.offset / sector * sector;
  const std::uint64_t end = (range.end() + sector - 1) / sector * sector;
  return {begin, end - begin};
}

}  // namespace

Result<std::unique_ptr<DiskReader>> DiskReader::start(std::unique_ptr<uring::Queue> queue) {
  std::unique_ptr<DiskReader> reader(new DiskReader(std::move(queue)));
  try {
    reader->thread_ =
        std::jthread([self = reader.get()](const std::stop_token& stop) { self->run(stop); });
  } catch (const std::exception& error) {
    return fail(ErrorCode::busy, fmt::format("start a thread that reads: {}", error.what()));
  }
  return reader;
}

DiskReader::DiskReader(std::unique_ptr<uring::Queue> queue)
    : description_(queue->description()), queue_(std::move(queue)) {
  RegisteredBuffers buffers;
  // A limit on locked memory, or no ring: it only costs some time.
  if (queue_->register_buffers(buffers.spans())) registered_ = std::move(buffers);
}

void DiskReader::take_buffer(Job& job) {
  if (registered_ && job.aligned.length > limits::chunk_size + 2 * sector) {
    if (auto taken = registered_->take()) {
      job.buffer = {.owner = std::move(taken->owner), .bytes = taken->bytes};
      job.registered = taken->number;
      return;
    }
  }
  job.buffer = buffers_.take(job.aligned.length);
}

DiskReader::~DiskReader() {
  thread_.request_stop();
  const std::lock_guard lock(mutex_);
  if (!closed_) queue_->wake();  // closed: the thread has noticed, and may have let go of the queue
}

std::future<Result<DiskReader::Stretch>> DiskReader::read(std::shared_ptr<const unique_fd> file,
                                                          ByteRange range) {
  Job job{.file = std::move(file), .range = range, .aligned = aligned(range)};
  auto result = job.promise.get_future();
  if (range.length > stretch_max) {
    job.promise.set_value(fail(ErrorCode::too_large, "a stretch is too long to be read at once"));
    return result;
  }
  {
    const std::lock_guard lock(mutex_);
    if (closed_) {
      job.promise.set_value(fail(ErrorCode::cancelled, "nothing is read any more"));
      return result;
    }
    waiting_.push_back(std::move(job));
    queue_->wake();
  }
  return result;
}

void DiskReader::run(const std::stop_token& stop) {
  pthread_setname_np(pthread_self(), "disk-reader");
  while (true) {
    if (stop.stop_requested()) fail_all(Error(ErrorCode::cancelled, "nothing is read any more"));
    if (stop.stop_requested() && under_way_.empty()) break;
    begin_what_waits();
    auto waited = queue_->wait(idle);
    if (!waited) {
      // The ring is broken: everybody is told, and nothing more is taken.
      fail_all(waited.error());
      queue_.reset();  // what is under way no longer writes into its buffers
      for (auto& [token, job] : under_way_) job.promise.set_value(std::unexpected(waited.error()));
      under_way_.clear();
      return;
    }
    const std::optional<uring::Completion> completion = std::move(*waited);
    if (completion) completed(*completion);
  }
  queue_.reset();  // by the thread that used it
}

void DiskReader::begin_what_waits() {
  while (queue_->under_way() < queue_->capacity()) {
    Job job;
    {
      const std::lock_guard lock(mutex_);
      if (waiting_.empty()) return;
      job = std::move(waiting_.front());
      waiting_.pop_front();
    }
    take_buffer(job);
    const uring::Token token = next_token_++;
    under_way_.emplace(token, std::move(job));
    continue_job(token);
  }
}

// Begins the read of what is still missing.
void DiskReader::continue_job(uring::Token token) {
  Job& job = under_way_.at(token);
  const std::span<std::byte> rest =
      job.buffer.bytes.subspan(job.done, job.aligned.length - job.done);
  const Status begun = queue_->begin(token, {.fd = job.file->get(),
                                             .buffer = rest,
                                             .offset = job.aligned.offset + job.done,
                                             .registered = job.registered});
  if (begun) return;
  job.promise.set_value(std::unexpected(begun.error()));
  under_way_.erase(token);
}

void DiskReader::completed(const uring::Completion& completion) {
  const auto found = under_way_.find(completion.token);
  Job& job = found->second;
  const std::uint64_t needed = job.range.end() - job.aligned.offset;
  if (!completion.bytes) {
    job.promise.set_value(std::unexpected(completion.bytes.error()));
  } else {
    const std::uint64_t reached = job.done + *completion.bytes;
    if (reached >= needed) {
      deliver(job);
    } else if (reached <= job.reached) {  // the same again: there is no more
      job.promise.set_value(
          fail(ErrorCode::corrupt, fmt::format("the file ends at {}, before {}",
                                               job.aligned.offset + reached, job.range.end())));
    } else {
      job.reached = reached;
      job.done = reached / sector * sector;  // the next read begins at a whole sector too
      return continue_job(completion.token);
    }
  }
  under_way_.erase(found);
}

void DiskReader::deliver(Job& job) {
  const ByteView bytes =
      job.buffer.bytes.subspan(job.range.offset - job.aligned.offset, job.range.length);
  job.promise.set_value(Stretch{.owner = std::move(job.buffer.owner), .bytes = bytes});
}

// What has not begun.
void DiskReader::fail_all(const Error& error) {
  std::deque<Job> given_up;
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    given_up.swap(waiting_);
  }
  for (Job& job : given_up) job.promise.set_value(std::unexpected(error));
}

}  // namespace icbd::source
