#include "icbd/replicator/arrival.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>

#include "icbd/base/file.h"
#include "icbd/btrfs/subvolume.h"
#include "icbd/replicator/pending_map.h"

#include "bulk_fill.h"

namespace icbd::replicator {
namespace {

using namespace std::chrono_literals;

// How long a reader leaves a chunk to bulk before it asks for it itself: several round trips of a
// fast link, too short to be felt.
constexpr auto bulk_patience = 30ms;
// Between attempts of a waiting reader while the source cannot be reached.
constexpr auto retry_interval = 250ms;

bool is_temporary(const Error& error) {
  return error.code() == ErrorCode::unavailable || error.code() == ErrorCode::timed_out;
}

}  // namespace

// Counts a demand task while it may write.
class Arrival::DemandGuard {
 public:
  explicit DemandGuard(Arrival& arrival) : arrival_(arrival) {
    const std::lock_guard lock(arrival_.mutex_);
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

std::shared_ptr<Arrival> Arrival::make(ArrivalContext context, std::shared_ptr<Content> content) {
  return std::shared_ptr<Arrival>(new Arrival(std::move(context), std::move(content)));
}

Arrival::Arrival(ArrivalContext context, std::shared_ptr<Content> content)
    : context_(std::move(context)),
      content_(std::move(content)),
      filler_(*content_, context_.source, readers_),
      shape_committed_(content_->version().shaped) {}

Arrival::~Arrival() {
  readers_.fail_all(Error(ErrorCode::cancelled, "the arrival has ended"));
}

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
    if (const Status read = read_here(*job, chunk); !read) return job->fail(read.error());
  }
  context_.timers.post_after(context_.fetch_timeout, [waiting = std::weak_ptr(job),
                                                      path = entry.path,
                                                      timeout = context_.fetch_timeout] {
    if (const auto late = waiting.lock())
      late->fail(Error(ErrorCode::timed_out, fmt::format("/{}: the source gave no bytes within {}",
                                                         path, timeout.count())));
  });
  if (!demanded.empty())
    demand(std::move(demanded), false, context_.clock.now() + context_.fetch_timeout);
  job->finish_part();
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

void Arrival::demand(std::vector<ChunkTask> chunks, bool insist, Clock::TimePoint deadline) {
  context_.demand.post([self = shared_from_this(), chunks = std::move(chunks), insist,
                        deadline]() mutable {
    const DemandGuard guard(*self);
    if (!guard.allowed()) return;
    const Status fetched = self->fetch_demanded(chunks, insist);
    if (!fetched && !is_temporary(fetched.error())) {
      self->context_.logger->error("{}@{}: {}", self->version().facts.image,
                                   self->version().facts.number.value(), fetched.error().message());
      self->set_failure(fetched.error().message());
      for (const ChunkTask& task : chunks)
        for (const auto& job :
             self->readers_.take(self->content_->chunks().number(task.file, task.chunk)))
          job->fail(fetched.error());
    }
    // What is still wanted is asked for again: left to bulk until now, or the source is away.
    std::erase_if(chunks, [&](const ChunkTask& task) {
      return !self->readers_.is_wanted(self->content_->chunks().number(task.file, task.chunk));
    });
    if (chunks.empty()) return;
    self->context_.timers.post_after(
        fetched ? bulk_patience : retry_interval,
        [self, chunks = std::move(chunks), deadline] { self->demand(chunks, true, deadline); });
  });
}

// Leaves in `chunks` what it was asked for; chunks that bulk is fetching are left to it unless
// `insist` is set.
Status Arrival::fetch_demanded(std::vector<ChunkTask>& chunks, bool insist) {
  OpenForWriting writer(*content_);
  std::vector<ChunkTask> remote;
  for (ChunkTask& task : chunks) {
    ICBD_TRY(content_->resolve(task.file, task.chunk, 1));
    const ChunkNumber number = content_->chunks().number(task.file, task.chunk);
    const ChunkState state = content_->chunks().state(number);
    if (state == ChunkState::fetching && !insist) continue;
    ICBD_ASSIGN(const std::vector<Digest> digest, content_->digests(task.file, task.chunk, 1));
    task.digest = digest.front();
    if (state == ChunkState::done) {
      // Resolved as inherited or a hole: its waiters read the staged file.
      ICBD_TRY(filler_.finish_locally(task));
      continue;
    }
    ICBD_ASSIGN(const bool filled, filler_.fill_locally(task, writer));
    if (!filled) remote.push_back(task);
  }
  if (remote.empty()) return {};
  return filler_.fetch(remote, source::Priority::demand, writer);
}

std::uint64_t Arrival::next_missing(FileIndex file, std::uint64_t offset) const {
  const manifest::Entry& entry = content_->entry(file);
  for (std::uint32_t chunk = static_cast<std::uint32_t>(offset / limits::chunk_size);
       chunk < entry.chunk_count(); ++chunk) {
    const ChunkMap& chunks = content_->chunks();
    if (chunks.state(chunks.number(file, ChunkIndex(chunk))) != ChunkState::done)
      return std::max(offset, entry.chunk_range(ChunkIndex(chunk)).offset);
  }
  return entry.size;
}

Status Arrival::commit_shape() {
  const std::lock_guard lock(commit_mutex_);
  if (shape_committed_) return {};
  ICBD_TRY(write_pending_map());
  std::optional<VersionSerial> parent;
  if (content_->parent()) parent = content_->parent()->version.serial;
  catalog::Catalog& catalog = context_.repository.catalog();
  ICBD_TRY(catalog.set_state(version().serial, catalog::VersionState::arriving));
  ICBD_TRY(catalog.set_shaped(version().serial, parent));
  shape_committed_ = true;
  return {};
}

Status Arrival::checkpoint() {
  const std::lock_guard lock(commit_mutex_);
  // Before the shape is committed there is nothing that a restart could go on from.
  if (!shape_committed_) return {};
  return write_pending_map();
}

Status Arrival::write_pending_map() {
  PendingMap map{
      .manifest = version().facts.manifest, .lineages = content_->lineages(), .done = {}};
  const ChunkMap& chunks = content_->chunks();
  map.done.resize(chunks.count());
  // What is done now was written before the sync that follows: the map never promises more than
  // the disk holds.
  for (std::uint64_t i = 0; i < chunks.count(); ++i)
    map.done[i] = chunks.state(ChunkNumber(i)) == ChunkState::done;
  ICBD_TRY(btrfs::sync_filesystem(content_->staging().root_fd()));
  return replace_file(
      context_.repository.pending_map_path(version().facts.image, version().facts.number),
      encode(map));
}

Status Arrival::fill(std::stop_token stop,
                     const std::vector<std::shared_ptr<const DigestIndex>>& indexes) {
  filler_.set_indexes(indexes);
  {
    const std::lock_guard lock(mutex_);
    fill_started_ = context_.clock.now();
    fetched_before_fill_ = filler_.counters().bytes_fetched;
    failure_.clear();
  }
  filling_ = true;
  BulkFill bulk(*content_, filler_, context_.clock, pending_bytes_,
                [this] { return checkpoint(); });
  const Status filled = bulk.run(stop);
  filling_ = false;
  if (!filled) set_failure(filled.error().message());
  return filled;
}

Status Arrival::land() {
  drain_demand();
  const auto& entries = content_->entries();
  for (std::uint32_t i = 0; i < entries.size(); ++i) {
    if (entries[i].type == manifest::EntryType::hard_link) continue;
    ICBD_ASSIGN(const std::string mended,
                finish_inode(content_->staging(), content_->inode(FileIndex(i)), entries[i]));
    if (!mended.empty())
      context_.logger->warn("{}@{}: /{}: {} of the shape differed from the manifest's and was set",
                            version().facts.image, version().facts.number.value(), entries[i].path,
                            mended);
  }
  ICBD_TRY(content_->pages().sync());
  return context_.repository.commit_landing(version());
}

// Every chunk is done, so nothing new is demanded; but a fetch that a reader asked for twice may
// still be under way with a writable descriptor, which the read-only flag would not stop.
void Arrival::drain_demand() {
  std::unique_lock lock(mutex_);
  demand_closed_ = true;
  demand_idle_.wait(lock, [&] { return active_demands_ == 0; });
}

void Arrival::stop() {
  stopping_ = true;
  readers_.fail_all(Error(ErrorCode::cancelled, "the cache is stopping"));
}

void Arrival::set_failure(std::string why) {
  const std::lock_guard lock(mutex_);
  failure_ = std::move(why);
}

ArrivalProgress Arrival::progress() const {
  ArrivalProgress progress;
  const ChunkMap& chunks = content_->chunks();
  for (const manifest::Entry& entry : content_->entries()) progress.bytes_total += entry.size;
  // Chunks are counted, not bytes: short last ones make this a little more than the truth, so it
  // is held below the total until all are done.
  progress.bytes_done =
      chunks.done_count() == chunks.count()
          ? progress.bytes_total
          : std::min(chunks.done_count() * limits::chunk_size,
                     progress.bytes_total - std::min<std::uint64_t>(progress.bytes_total, 1));
  progress.bytes_pending = pending_bytes_;
  progress.bytes_fetched = filler_.counters().bytes_fetched;
  progress.bytes_shared = filler_.counters().bytes_shared;
  progress.waiting_readers = readers_.waiting();
  progress.filling = filling_;
  const std::lock_guard lock(mutex_);
  progress.failure = failure_;
  if (progress.filling) {
    const std::chrono::duration<double> elapsed = context_.clock.now() - fill_started_;
    if (elapsed > 50ms)
      progress.rate_bytes_per_second = static_cast<std::uint64_t>(
          static_cast<double>(progress.bytes_fetched - fetched_before_fill_) / elapsed.count());
  }
  return progress;
}

}  // namespace icbd::replicator
