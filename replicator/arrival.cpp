#include "icbd/replicator/arrival.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>

#include "icbd/base/background.h"
#include "icbd/base/file.h"
#include "icbd/base/parallel.h"
#include "icbd/btrfs/subvolume.h"
#include "icbd/replicator/pending_map.h"

#include "bulk_fill.h"
#include "describe.h"
#include "landing_check.h"
#include "shared_inodes.h"
#include "stream_fill.h"
#include "under_way.h"

namespace icbd::replicator {
namespace {

using namespace std::chrono_literals;

// Inodes are finished by this many threads, so many neighbours at a time: they share leaves.
constexpr unsigned finishers = 2;
constexpr std::size_t stretch_of_inodes = 256;
// Seconds: what takes less time was not measured.
constexpr double shortest_measured = 0.001;

}  // namespace

std::string_view to_string(ArrivalPhase phase) {
  switch (phase) {
    case ArrivalPhase::on_demand:
      return "on_demand";
    case ArrivalPhase::queued:
      return "queued";
    case ArrivalPhase::filling:
      return "filling";
    case ArrivalPhase::landing:
      return "landing";
    case ArrivalPhase::retrying:
      return "retrying";
    case ArrivalPhase::paused:
      return "paused";
  }
  return "on_demand";
}

std::shared_ptr<Arrival> Arrival::make(ArrivalContext context, std::shared_ptr<Content> content,
                                       bool wanted) {
  return std::shared_ptr<Arrival>(new Arrival(std::move(context), std::move(content), wanted));
}

Arrival::Arrival(ArrivalContext context, std::shared_ptr<Content> content, bool wanted)
    : context_(std::move(context)),
      content_(std::move(content)),
      filler_(*content_, context_.source, readers_),
      wanted_(wanted),
      under_way_(std::make_unique<UnderWay>(content_->chunks(), context_.clock)),
      shape_committed_(content_->version().shaped),
      synced_writes_(content_->is_synced() ? std::optional<std::uint64_t>(0) : std::nullopt),
      phase_(wanted ? ArrivalPhase::queued : ArrivalPhase::on_demand) {}

Arrival::~Arrival() {
  readers_.fail_all(Error(ErrorCode::cancelled, "the arrival has ended"));
}

std::uint64_t Arrival::next_missing(FileIndex file, std::uint64_t offset) const {
  const manifest::Entry& entry = content_->entry(file);
  for (auto chunk = static_cast<std::uint32_t>(offset / limits::chunk_size);
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
  if (abandoned_) return fail(ErrorCode::cancelled, "the version is dropped");
  const std::uint64_t writes = filler_.counters().writes;
  const PendingMap map = pending_map();
  // Nobody looks at the map before the catalog speaks of a shape: one sync makes it durable
  // together with the manifest's pages and all inodes.
  ICBD_TRY(write_file(map_path(), encode(map)));
  ICBD_TRY(btrfs::sync_filesystem(content_->staging().root_fd()));
  std::optional<VersionSerial> parent;
  if (content_->parent()) parent = content_->parent()->version.serial;
  ICBD_TRY(context_.repository.catalog().begin_arrival(version().serial, parent));
  shape_committed_ = true;
  synced_writes_ = writes;
  mapped_ = {.writes = writes, .wanted = map.wanted};
  return {};
}

// Not with a checkpoint for its own sake: each costs a commit of the filesystem.
Status Arrival::remember_wanted() {
  const std::lock_guard lock(commit_mutex_);
  if (!shape_committed_ || abandoned_ || (mapped_ && mapped_->wanted)) return {};
  return write_pending_map();
}

Status Arrival::checkpoint() {
  const std::lock_guard lock(commit_mutex_);
  // Before the shape is committed there is nothing that a restart could go on from.
  if (!shape_committed_ || abandoned_) return {};
  // What was found to be the parent's since is found again.
  if (mapped_ == Mapped{.writes = filler_.counters().writes, .wanted = wanted_}) return {};
  return write_pending_map();
}

std::filesystem::path Arrival::map_path() const {
  return context_.repository.pending_map_path(version().facts.image, version().facts.number);
}

// What is done now was written before the sync that follows: the map never promises more than the
// disk holds.
PendingMap Arrival::pending_map() const {
  PendingMap map{.manifest = version().facts.manifest,
                 .wanted = wanted_,
                 .lineages = content_->lineages(),
                 .done = {}};
  const ChunkMap& chunks = content_->chunks();
  map.done.resize(chunks.count());
  for (std::uint64_t i = 0; i < chunks.count(); ++i)
    map.done[i] = chunks.state(ChunkNumber(i)) == ChunkState::done;
  return map;
}

Status Arrival::write_pending_map() {
  // What is written while the map is made may be missing from it, but has to be on disk if not.
  const std::uint64_t written_before = filler_.counters().writes;
  const PendingMap map = pending_map();
  const std::uint64_t written = filler_.counters().writes;
  ICBD_TRY(content_->pages().sync());
  if (synced_writes_ != written) ICBD_TRY(btrfs::sync_filesystem(content_->staging().root_fd()));
  synced_writes_ = written;
  ICBD_TRY(replace_file(map_path(), encode(map)));
  mapped_ = {.writes = written_before, .wanted = map.wanted};
  return {};
}

void Arrival::set_wanted() {
  wanted_ = true;
  const std::lock_guard lock(mutex_);
  if (phase_ == ArrivalPhase::on_demand) phase_ = ArrivalPhase::queued;
}

void Arrival::set_phase(ArrivalPhase phase) {
  const std::lock_guard lock(mutex_);
  phase_ = phase;
  failure_.clear();
}

Status Arrival::fill(std::stop_token stop,
                     const std::vector<std::shared_ptr<const DigestIndex>>& indexes) {
  filler_.set_indexes(indexes);
  set_phase(ArrivalPhase::filling);
  {
    const std::lock_guard lock(mutex_);
    fill_started_ = context_.clock.now();
    fetched_before_fill_ = filler_.counters().bytes_fetched;
  }
  BulkFill bulk(*content_, filler_, context_.clock, pending_bytes_, *under_way_,
                {.remember = [this] { return remember_wanted(); },
                 .checkpoint = [this] { return checkpoint(); },
                 .check_room = [this](std::uint64_t bytes) { return context_.space.check(bytes); },
                 .pace = [this](std::uint64_t bytes) { return context_.bandwidth.take(bytes); }});
  ICBD_TRY(bulk.prepare(stop));
  TransferFacts facts;
  if (decide_transfer(facts).transfer == Transfer::stream) ICBD_TRY(bulk.fill_here(stop));
  // What is here would come with a stream all the same.
  const TransferDecision decision = decide_transfer(facts);
  const auto begun = context_.clock.now();
  if (decision.transfer == Transfer::stream) ICBD_TRY(take_stream(bulk, stop));
  ICBD_TRY(bulk.run(stop));
  const std::chrono::duration<double> took = context_.clock.now() - begun;
  if (is_tree(facts))
    context_.speeds.note(decision.transfer, static_cast<double>(facts.pending_files) /
                                                std::max(took.count(), shortest_measured));
  return {};
}

TransferFacts Arrival::transfer_facts() const {
  TransferFacts facts{.readers_wait = readers_.waiting() != 0,
                      .is_read = bytes_read_ != 0,
                      .extents_speed = context_.speeds.of(Transfer::extents),
                      .stream_speed = context_.speeds.of(Transfer::stream),
                      .unavailable = {}};
  const ChunkMap& chunks = content_->chunks();
  const auto& entries = content_->entries();
  for (std::uint32_t i = 0; i < entries.size(); ++i) {
    if (entries[i].type != manifest::EntryType::file) continue;
    for (const ByteRange range : content_->lineages()[i].updated)
      facts.stream_bytes += range.length;
    bool pending = false;
    for (std::uint32_t chunk = 0; chunk < entries[i].chunk_count(); ++chunk) {
      if (chunks.state(chunks.number(FileIndex(i), ChunkIndex(chunk))) == ChunkState::done)
        continue;
      pending = true;
      for (const ByteRange range : content_->missing_ranges(FileIndex(i), ChunkIndex(chunk)))
        facts.pending_bytes += range.length;
    }
    if (pending) ++facts.pending_files;
  }
  return facts;
}

// `facts`: what it was decided by.
TransferDecision Arrival::decide_transfer(TransferFacts& facts) {
  facts = transfer_facts();
  const TransferMode mode = context_.transfer_mode(version().facts.image);
  const std::lock_guard lock(mutex_);
  facts.unavailable = no_stream_;
  transfer_ = choose_transfer(mode, facts);
  return transfer_;
}

// Whatever becomes of the stream, the rest can come as extents. An error only if what has come
// cannot be kept.
Status Arrival::take_stream(BulkFill& bulk, std::stop_token stop) {
  StreamFill fill(*content_, filler_, pending_bytes_,
                  {.upkeep = [&bulk] { return bulk.upkeep(); },
                   .pace = [this](std::uint64_t bytes) { return context_.bandwidth.take(bytes); }});
  const StreamFill::Outcome outcome = fill.run(context_.source, stop);
  ICBD_TRY(outcome.fill);
  const std::lock_guard lock(mutex_);
  if (outcome.stream) {
    transfer_.why += "; what it left out comes as extents";
    return {};
  }
  const Error& error = outcome.stream.error();
  context_.logger->warn("{}@{}: the stream broke, and the rest comes as extents: {}",
                        version().facts.image, version().facts.number.value(), error.message());
  transfer_ = {.transfer = Transfer::extents, .why = "the stream broke: " + error.message()};
  if (!is_temporary(error)) no_stream_ = transfer_.why;
  return {};
}

Result<bool> Arrival::land(std::stop_token stop) {
  set_phase(ArrivalPhase::landing);
  drain_demand();
  ICBD_TRY(content_->unseal());  // if an earlier landing failed late
  LandingCheck check(*content_);
  ICBD_TRY(sync_and_compare(check, stop));
  const SharedInodes shared = look_at_shared_inodes();
  ICBD_ASSIGN(const bool right, check_chunks(check, shared, stop));
  if (!right) return false;
  ICBD_TRY(finish_inodes(shared, stop));
  ICBD_TRY(content_->pages().sync());
  ICBD_TRY(context_.repository.commit_landing(version()));
  return true;
}

// The extents of what was written last are not known before they are on the disk. Meanwhile, what
// was written is read back.
Status Arrival::sync_and_compare(LandingCheck& check, std::stop_token stop) {
  auto synced =
      in_background([this] { return btrfs::sync_filesystem(content_->staging().root_fd()); });
  ICBD_TRY(check.compare_written(stop));
  return synced.get();
}

// It saves work, and no more: without it, everything is looked at.
SharedInodes Arrival::look_at_shared_inodes() const {
  auto shared = SharedInodes::look(content_->staging(), content_->parent());
  if (shared) return std::move(*shared);
  context_.logger->warn("{}@{}: every file is looked at, changed or not: {}", version().facts.image,
                        version().facts.number.value(), shared.error().message());
  return {};
}

// False if some are to be filled again.
Result<bool> Arrival::check_chunks(LandingCheck& check, const SharedInodes& shared,
                                   std::stop_token stop) {
  ICBD_ASSIGN(const LandingCheckReport report, check.run(shared, stop));
  context_.logger->debug(
      "{}@{}: {} bytes read back, {} proven by their extents; {} were stored compressed as they "
      "came",
      version().facts.image, version().facts.number.value(), report.bytes_read, report.bytes_shared,
      filler_.counters().bytes_encoded.load());
  if (report.damaged.empty()) return true;
  const CheckedChunk& first = report.damaged.front();
  context_.logger->error(
      "{}@{}: {} chunks are not what the manifest says, the first at {} of /{}; they are fetched "
      "again",
      version().facts.image, version().facts.number.value(), report.damaged.size(),
      content_->entry(first.file).chunk_range(first.chunk).offset,
      content_->entry(first.file).path);
  {
    const std::lock_guard lock(mutex_);
    demand_closed_ = false;
  }
  filler_.give_up_encoded();
  filler_.give_up_sharing();
  for (const CheckedChunk& chunk : report.damaged)
    content_->chunks().revoke(content_->chunks().number(chunk.file, chunk.chunk));
  return false;
}

Status Arrival::finish_inodes(const SharedInodes& shared, const std::stop_token& stop) {
  const std::size_t count = content_->entries().size();
  const std::size_t stretches = (count + stretch_of_inodes - 1) / stretch_of_inodes;
  return in_parallel(stretches, finishers, stop, [&](std::size_t stretch) -> Status {
    const std::size_t end = std::min(count, (stretch + 1) * stretch_of_inodes);
    for (std::size_t i = stretch * stretch_of_inodes; i < end; ++i)
      ICBD_TRY(finish_inode_of(FileIndex(static_cast<std::uint32_t>(i)), shared));
    return {};
  });
}

Status Arrival::finish_inode_of(FileIndex file, const SharedInodes& shared) {
  const manifest::Entry& entry = content_->entry(file);
  if (entry.type == manifest::EntryType::hard_link) return {};
  const InodeNumber inode = content_->inode(file);
  const manifest::Entry* before = shared.find(inode);
  if (before != nullptr && same_metadata(*before, entry)) return {};
  ICBD_ASSIGN(const std::string mended, finish_inode(content_->staging(), inode, entry));
  if (!mended.empty())
    context_.logger->warn("{}@{}: /{}: {} of the shape differed from the manifest's and was set",
                          version().facts.image, version().facts.number.value(), entry.path,
                          mended);
  return {};
}

void Arrival::stop() {
  stopping_ = true;
  readers_.fail_all(Error(ErrorCode::cancelled, "the cache is stopping"));
}

void Arrival::abandon() {
  stop();
  drain_demand();
  const std::lock_guard lock(commit_mutex_);
  abandoned_ = true;
}

void Arrival::note_problem(const Error& error) {
  const std::lock_guard lock(mutex_);
  failure_ = error.message();
}

bool Arrival::set_failure(const Error& error) {
  const std::lock_guard lock(mutex_);
  phase_ = error.code() == ErrorCode::no_space ? ArrivalPhase::paused : ArrivalPhase::retrying;
  failure_ = error.message();
  return std::exchange(last_failure_, error.code()) != error.code();
}

ArrivalProgress Arrival::progress() const {
  ArrivalProgress progress;
  const ChunkMap& chunks = content_->chunks();
  progress.bytes_total = version().facts.file_bytes;
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
  const std::lock_guard lock(mutex_);
  progress.phase = phase_;
  progress.filling = phase_ == ArrivalPhase::filling || phase_ == ArrivalPhase::landing;
  progress.failure = failure_;
  progress.transfer = transfer_.transfer;
  progress.transfer_why = transfer_.why;
  if (progress.filling) {
    const std::chrono::duration<double> elapsed = context_.clock.now() - fill_started_;
    if (elapsed > 50ms)
      progress.rate_bytes_per_second = static_cast<std::uint64_t>(
          static_cast<double>(progress.bytes_fetched - fetched_before_fill_) / elapsed.count());
  }
  return progress;
}

}  // namespace icbd::replicator
