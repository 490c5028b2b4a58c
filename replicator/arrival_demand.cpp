// What readers wait for: asked for by itself, unless bulk will bring it as soon.

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>

#include "icbd/base/file.h"
#include "icbd/replicator/arrival.h"

#include "describe.h"
#include "under_way.h"

namespace icbd::replicator {
namespace {

using namespace std::chrono_literals;

// Between attempts of a waiting reader while the source cannot be reached.
constexpr auto retry_interval = 250ms;
// Of what readers alone bring, so much is lost with the power at most.
constexpr auto save_interval = 5s;

bool is_next(const ChunkTask& before, const ChunkTask& task) {
  return before.file == task.file && before.chunk.value() + 1 == task.chunk.value();
}

}  // namespace

// Counts a demand task while it may write.
class Arrival::DemandGuard {
 public:
  explicit DemandGuard(Arrival& arrival) : arrival_(arrival) {
    const std::lock_guard lock(arrival_.mutex_);
    // NOLINTNEXTLINE(cppcoreguidelines-prefer-member-initializer): only with the lock.
    allowed_ = !arrival_.demand_closed_ && !arrival_.stopping_;
    if (allowed_) ++arrival_.active_demands_;
  }
  ~DemandGuard() {
    if (!allowed_) return;
    const std::lock_guard lock(arrival_.mutex_);
    if (--arrival_.active_demands_ == 0) arrival_.demand_idle_.notify_all();
  }
  DemandGuard(const DemandGuard&) = delete;
  DemandGuard& operator=(const DemandGuard&) = delete;
  bool allowed() const { return allowed_; }

 private:
  Arrival& arrival_;
  bool allowed_ = false;
};

// Chunks that are fetched because a reader waits: others who want them are to know, and bulk leaves
// them alone. What did not come is pending again when this goes.
class Arrival::Asked {
 public:
  explicit Asked(Arrival& arrival) : arrival_(arrival) {}
  ~Asked() {
    for (const ChunkNumber chunk : claimed_) arrival_.content_->chunks().release(chunk);
    const std::lock_guard lock(arrival_.mutex_);
    for (const ChunkNumber chunk : known_) arrival_.asked_for_readers_.erase(chunk);
  }
  Asked(const Asked&) = delete;
  Asked& operator=(const Asked&) = delete;

  // False if somebody else has asked for it meanwhile.
  bool claim(ChunkNumber chunk) {
    const bool added = make_known(chunk);
    if (arrival_.content_->chunks().claim(chunk)) {
      claimed_.push_back(chunk);
      return true;
    }
    if (added) {
      const std::lock_guard lock(arrival_.mutex_);
      arrival_.asked_for_readers_.erase(chunk);
      known_.pop_back();
    }
    return false;
  }
  // Whoever else has asked for it.
  void ask_again(ChunkNumber chunk) { make_known(chunk); }

 private:
  bool make_known(ChunkNumber chunk) {
    const std::lock_guard lock(arrival_.mutex_);
    if (!arrival_.asked_for_readers_.insert(chunk).second) return false;
    known_.push_back(chunk);
    return true;
  }

  Arrival& arrival_;
  std::vector<ChunkNumber> claimed_;
  std::vector<ChunkNumber> known_;
};

void Arrival::read(FileIndex file, ByteRange range, ReadDone done) {
  const manifest::Entry& entry = content_->entry(file);
  range = intersect(range, {0, entry.size});
  if (range.empty()) return done(Bytes{});
  if (stopping_) return done(fail(ErrorCode::cancelled, "the cache is stopping"));

  const auto job = std::make_shared<ReadJob>(file, range, std::move(done));
  std::vector<ChunkTask> demanded;
  const ChunkSpan span = chunks_of(range);
  for (std::uint32_t i = span.first; i <= span.last; ++i) {
    const ChunkIndex chunk(i);
    bool first = false;
    if (readers_.add(content_->chunks(), content_->chunks().number(file, chunk), job, first)) {
      if (first) demanded.push_back({file, chunk, {}});
      continue;
    }
    // What was registered has to be asked for all the same: others may wait for it by now.
    if (const Status read = read_here(*job, chunk); !read) {
      job->fail(read.error());
      break;
    }
  }
  const std::chrono::milliseconds timeout = context_.live.fetch_timeout;
  context_.timers.post_after(timeout, [waiting = std::weak_ptr(job), path = entry.path, timeout] {
    if (const auto late = waiting.lock())
      late->fail(Error(ErrorCode::timed_out, fmt::format("/{}: the source gave no bytes within {}",
                                                         path, timeout.count())));
  });
  if (!demanded.empty()) demand(std::move(demanded), false);
  job->finish_part();
  // stop() may have come between the look above and the registration.
  if (stopping_) readers_.fail_all(Error(ErrorCode::cancelled, "the cache is stopping"));
}

// A part of a read whose bytes are in the staged file.
Status Arrival::read_here(ReadJob& job, ChunkIndex chunk) {
  const ByteRange part = intersect(content_->entry(job.file()).chunk_range(chunk), job.range());
  ICBD_ASSIGN(const unique_fd fd,
              content_->staging().open_inode(content_->inode(job.file()), O_RDONLY));
  Bytes bytes(part.length);
  ICBD_TRY(read_exactly_at(fd.get(), bytes, part.offset));
  job.expect_part();
  job.finish_part(part, bytes);
  return {};
}

void Arrival::demand(std::vector<ChunkTask> chunks, bool insist) {
  context_.demand.post([self = shared_from_this(), chunks = std::move(chunks), insist]() mutable {
    self->run_demand(chunks, insist);
  });
}

void Arrival::demand_later(std::vector<ChunkTask> chunks, std::chrono::milliseconds delay) {
  context_.timers.post_after(delay, [self = shared_from_this(), chunks = std::move(chunks)] {
    self->demand(chunks, true);
  });
}

void Arrival::drop_unwanted(std::vector<ChunkTask>& chunks) {
  std::erase_if(chunks, [&](const ChunkTask& task) {
    return !readers_.is_wanted(content_->chunks().number(task.file, task.chunk));
  });
}

void Arrival::run_demand(std::vector<ChunkTask>& chunks, bool insist) {
  const DemandGuard guard(*this);
  if (!guard.allowed()) return;
  if (insist)
    drop_unwanted(chunks);
  else
    leave_to_others(chunks);
  const Status fetched = fetch_demanded(chunks, insist);
  if (!fetched) {
    const bool temporary = is_temporary(fetched.error());
    // Known to be away: what could be found here was found, for the rest nobody waits.
    const auto away = context_.source.closed();
    if (!temporary || away) fail_readers(chunks, away.value_or(fetched.error()));
    if (!temporary && fetched.error().code() != ErrorCode::cancelled) {
      context_.logger->error("{}@{}: {}", version().facts.image, version().facts.number.value(),
                             fetched.error().message());
      note_problem(fetched.error());
    }
  }
  save_soon();
  if (content_->chunks().done_count() == content_->chunks().count() && context_.on_all_here &&
      !told_all_here_.exchange(true))
    context_.on_all_here(version());
  // What is still wanted is asked for again: the source is away.
  drop_unwanted(chunks);
  if (!chunks.empty()) demand_later(std::move(chunks), retry_interval);
}

// What only readers bring is made durable too, though nothing else goes on.
void Arrival::save_soon() {
  if (save_due_.exchange(true)) return;
  context_.timers.post_after(save_interval, [waiting = weak_from_this()] {
    const auto self = waiting.lock();
    if (!self) return;
    self->save_due_ = false;
    self->context_.demand.post([self] {
      const DemandGuard guard(*self);
      if (!guard.allowed()) return;
      if (const Status saved = self->checkpoint(); !saved) self->note_problem(saved.error());
    });
  });
}

void Arrival::fail_readers(const std::vector<ChunkTask>& chunks, const Error& error) {
  for (const ChunkTask& task : chunks)
    for (const auto& job : readers_.take(content_->chunks().number(task.file, task.chunk)))
      job->fail(error);
}

// What lies before it has come with this arrival, or is waited for too: the kernel reads ahead.
bool Arrival::follows_bulk(const ChunkTask& task) {
  if (task.chunk.value() == 0) return false;
  const ChunkMap& chunks = content_->chunks();
  const ChunkNumber before = chunks.number(task.file, ChunkIndex(task.chunk.value() - 1));
  return chunks.written(before).has_value() || readers_.is_wanted(before);
}

std::optional<std::chrono::milliseconds> Arrival::patience_with(const ChunkTask& task,
                                                                std::size_t before,
                                                                bool follows) const {
  const bool for_reader = [&] {
    const std::lock_guard lock(mutex_);
    return asked_for_readers_.contains(content_->chunks().number(task.file, task.chunk));
  }();
  return under_way_->patience({.file = task.file,
                               .chunk = task.chunk,
                               .before = before,
                               .for_reader = for_reader,
                               .follows = follows});
}

// Takes out what somebody is fetching and brings no later than if it were asked for. Whoever still
// waits for it when it should have come asks for it.
void Arrival::leave_to_others(std::vector<ChunkTask>& chunks) {
  std::optional<ChunkTask> before;
  std::size_t count = 0;
  bool follows = false;
  std::erase_if(chunks, [&](const ChunkTask& task) {
    follows = follows_bulk(task) || (follows && is_next(*before, task));
    before = task;
    const std::size_t wanted_before = count++;
    const ChunkMap& map = content_->chunks();
    if (map.state(map.number(task.file, task.chunk)) != ChunkState::fetching) return false;
    const auto patience = patience_with(task, wanted_before, follows);
    if (patience) demand_later({task}, *patience);
    return patience.has_value();
  });
}

Status Arrival::fetch_demanded(std::vector<ChunkTask>& chunks, bool insist) {
  OpenForWriting writer(*content_);
  Asked asked(*this);
  std::vector<ChunkTask> remote;
  for (ChunkTask& task : chunks) {
    ICBD_TRY(content_->resolve(task.file, task.chunk, 1));
    const ChunkNumber number = content_->chunks().number(task.file, task.chunk);
    const ChunkState state = content_->chunks().state(number);
    ICBD_ASSIGN(const std::vector<Digest> digest, content_->digests(task.file, task.chunk, 1));
    task.digest = digest.front();
    if (state == ChunkState::done) {
      // Resolved as inherited or a hole: its waiters read the staged file.
      ICBD_TRY(filler_.finish_locally(task));
      continue;
    }
    ICBD_ASSIGN(const bool filled, fill_from_here(task, writer));
    if (filled) continue;
    // So that bulk, when it comes by, does not fetch it too.
    if (!asked.claim(number)) {
      // Somebody was faster, just now.
      const auto patience = insist || state == ChunkState::fetching
                                ? std::nullopt
                                : patience_with(task, remote.size(), false);
      if (patience) {
        demand_later({task}, *patience);
        continue;
      }
      asked.ask_again(number);
    }
    remote.push_back(task);
  }
  return remote.empty() ? Status() : ask_for(remote, writer);
}

Status Arrival::ask_for(std::span<const ChunkTask> chunks, OpenForWriting& writer) {
  if (context_.live.fill == FillPolicy::never)
    return fail(ErrorCode::io, fmt::format("/{} is not all here, and fetch.fill is \"never\"",
                                           content_->entry(chunks.front().file).path));
  const auto begun = context_.clock.now();
  ICBD_TRY(filler_.fetch(chunks, source::Priority::demand, writer));
  under_way_->note_asking(context_.clock.now() - begun, chunks.size());
  return {};
}

// Sharing needs room for metadata. Without it, readers are served from the source.
Result<bool> Arrival::fill_from_here(const ChunkTask& task, OpenForWriting& writer) {
  auto filled = filler_.fill_locally(task, writer);
  if (!filled && filled.error().code() == ErrorCode::no_space) return false;
  return filled;
}

// Every chunk is done, so nothing new is demanded; but a fetch that a reader asked for twice may
// still be under way with a writable descriptor, which the read-only flag would not stop.
void Arrival::drain_demand() {
  std::unique_lock lock(mutex_);
  demand_closed_ = true;
  demand_idle_.wait(lock, [&] { return active_demands_ == 0; });
}

}  // namespace icbd::replicator
