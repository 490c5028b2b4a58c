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

// How long a chunk is left to another reader's fetch.
constexpr std::chrono::milliseconds reader_patience = 100ms;
// Who reads on behind bulk leaves to it what comes as soon as if it were asked for: all that he
// wants is next, and would cross the link twice. Who reads here and there has only that to lose.
constexpr double share_of_asking = 0.5;
// What was expected comes later when there is more to do: half as long again, and a moment.
constexpr double late_share = 1.5;
constexpr auto shortest_patience = 5ms;
// Between attempts of a waiting reader while the source cannot be reached.
constexpr auto retry_interval = 250ms;
// Of what readers alone bring, so much is lost with the power at most.
constexpr auto save_interval = 5s;

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

// What is on its way for readers, so that the next one who wants it waits for that.
class Arrival::AskedForReaders {
 public:
  AskedForReaders(Arrival& arrival, std::span<const ChunkTask> chunks) : arrival_(arrival) {
    const ChunkMap& map = arrival_.content_->chunks();
    const std::lock_guard lock(arrival_.mutex_);
    for (const ChunkTask& task : chunks) {
      const ChunkNumber number = map.number(task.file, task.chunk);
      if (arrival_.asked_for_readers_.insert(number).second) mine_.push_back(number);
    }
  }
  ~AskedForReaders() {
    const std::lock_guard lock(arrival_.mutex_);
    for (const ChunkNumber number : mine_) arrival_.asked_for_readers_.erase(number);
  }
  AskedForReaders(const AskedForReaders&) = delete;
  AskedForReaders& operator=(const AskedForReaders&) = delete;

 private:
  Arrival& arrival_;
  std::vector<ChunkNumber> mine_;
};

namespace {

bool is_next(const ChunkTask& before, const ChunkTask& task) {
  return before.file == task.file && before.chunk.value() + 1 == task.chunk.value();
}

// Chunks that are claimed for a fetch; what did not come is pending again.
class Claims {
 public:
  explicit Claims(ChunkMap& chunks) : chunks_(chunks) {}
  ~Claims() {
    for (const ChunkNumber chunk : taken_) chunks_.release(chunk);
  }
  Claims(const Claims&) = delete;
  Claims& operator=(const Claims&) = delete;

  // False if somebody else fetches it.
  bool take(ChunkNumber chunk) {
    if (!chunks_.claim(chunk)) return false;
    taken_.push_back(chunk);
    return true;
  }

 private:
  ChunkMap& chunks_;
  std::vector<ChunkNumber> taken_;
};

}  // namespace

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

void Arrival::run_demand(std::vector<ChunkTask>& chunks, bool insist) {
  const DemandGuard guard(*this);
  if (!guard.allowed()) return;
  const auto fetched = fetch_demanded(chunks, insist);
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
  // What is still wanted is asked for again: left to bulk until now, or the source is away.
  std::erase_if(chunks, [&](const ChunkTask& task) {
    return !readers_.is_wanted(content_->chunks().number(task.file, task.chunk));
  });
  if (chunks.empty()) return;
  context_.timers.post_after(fetched ? *fetched : retry_interval,
                             [self = shared_from_this(), chunks = std::move(chunks)]() mutable {
                               self->demand(std::move(chunks), true);
                             });
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

// How long a chunk that somebody has asked for is left to him; empty if to ask again is faster: for
// it and as many as are wanted before it.
std::optional<std::chrono::milliseconds> Arrival::time_for_bulk(const ChunkTask& task,
                                                                std::size_t before,
                                                                bool follows) const {
  {
    const std::lock_guard lock(mutex_);
    if (asked_for_readers_.contains(content_->chunks().number(task.file, task.chunk)))
      return reader_patience;
  }
  const UnderWay::Seconds asking = asking_takes_.load() * (1 + before);
  const UnderWay::Seconds acceptable = follows ? asking : asking * share_of_asking;
  const auto expected = under_way_->until(task.file, task.chunk);
  if (expected && *expected > acceptable) return std::nullopt;
  // Nothing has come yet, so that nothing is known: bulk has begun a moment ago.
  const UnderWay::Seconds patience = expected ? *expected * late_share : asking;
  return shortest_patience + std::chrono::ceil<std::chrono::milliseconds>(patience);
}

// Leaves in `chunks` what it was asked for; chunks that bulk is fetching are left to it where that
// is better, unless `insist` is set. Returns for how long.
Result<std::chrono::milliseconds> Arrival::fetch_demanded(std::vector<ChunkTask>& chunks,
                                                          bool insist) {
  OpenForWriting writer(*content_);
  Claims claims(content_->chunks());
  std::vector<ChunkTask> remote;
  const ChunkTask* before = nullptr;
  bool follows = false;
  std::chrono::milliseconds longest = shortest_patience;
  for (ChunkTask& task : chunks) {
    ICBD_TRY(content_->resolve(task.file, task.chunk, 1));
    const ChunkNumber number = content_->chunks().number(task.file, task.chunk);
    const ChunkState state = content_->chunks().state(number);
    follows = follows_bulk(task) || (follows && is_next(*before, task));
    before = &task;
    const auto patience =
        insist || state != ChunkState::fetching
            ? std::nullopt
            : time_for_bulk(task, static_cast<std::size_t>(&task - chunks.data()), follows);
    if (patience) {
      longest = std::max(longest, *patience);
      continue;
    }
    ICBD_ASSIGN(const std::vector<Digest> digest, content_->digests(task.file, task.chunk, 1));
    task.digest = digest.front();
    if (state == ChunkState::done) {
      // Resolved as inherited or a hole: its waiters read the staged file.
      ICBD_TRY(filler_.finish_locally(task));
      continue;
    }
    ICBD_ASSIGN(const bool filled, fill_from_here(task, writer));
    // So that bulk, when it comes by, does not fetch it too.
    if (!filled && (claims.take(number) || insist || state == ChunkState::fetching))
      remote.push_back(task);
  }
  if (!remote.empty()) ICBD_TRY(ask_for(remote, writer));
  return longest;
}

Status Arrival::ask_for(std::span<const ChunkTask> chunks, OpenForWriting& writer) {
  if (context_.live.fill == FillPolicy::never)
    return fail(ErrorCode::io, fmt::format("/{} is not all here, and fetch.fill is \"never\"",
                                           content_->entry(chunks.front().file).path));
  const AskedForReaders asked(*this, chunks);
  const auto begun = context_.clock.now();
  ICBD_TRY(filler_.fetch(chunks, source::Priority::demand, writer));
  // Of many at once only that it was fast says something about one.
  const Clock::Duration took = context_.clock.now() - begun;
  const Clock::Duration before = asking_takes_;
  constexpr int remembered = 4;
  if (chunks.size() == 1 || took < before) asking_takes_ = before + (took - before) / remembered;
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
