#include "bulk_fill.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "icbd/base/background.h"

namespace icbd::replicator {
namespace {

using namespace std::chrono_literals;

// One request. Together, those under way fill a fast link with a long round trip (1 Gb/s and 100
// ms: 12 MB); on a slow link they are small, so that what is asked for is here soon, and little is
// lost when the transfer ends.
constexpr std::uint64_t smallest_batch = 512 * 1024;
constexpr std::uint64_t first_batch = 2 * 1024 * 1024;
constexpr std::uint64_t largest_batch = 4 * 1024 * 1024;
constexpr std::chrono::duration<double> batch_time = 250ms;
constexpr auto rate_window = 200ms;
constexpr std::size_t batch_chunks = 512;  // of small files
constexpr unsigned workers = 8;
constexpr std::size_t queued_batches = 1;
// A crash costs at most this much fetched again; with more, the last sync has more to wait for.
constexpr std::uint64_t checkpoint_bytes = 256 * 1024 * 1024;
constexpr auto checkpoint_interval = 5s;
// Others write to the filesystem too.
constexpr std::uint64_t room_check_bytes = 64 * 1024 * 1024;
// Between two looks at chunks that are being fetched for readers.
constexpr auto reader_poll = 5ms;
// Digests looked at together: one digest page's chunks of a level above.
constexpr std::uint32_t run_chunks = 4096;
// Chunks that wait for others of the same digest; each time, everything under way is waited for.
constexpr std::size_t repeated_chunks = 1024;
// What is smaller costs less to fetch, with others, than to open a file for.
constexpr std::uint64_t smallest_repeated = 16 * 1024;

// Durability is syncfs's work, so a failure here shows up there.
void begin_to_write(const Content& content, FileIndex file, ByteRange range) {
  const auto fd = content.staging().open_inode(content.inode(file), O_RDONLY);
  if (!fd) return;
  static_cast<void>(::sync_file_range(fd->get(), static_cast<off64_t>(range.offset),
                                      static_cast<off64_t>(range.length), SYNC_FILE_RANGE_WRITE));
}

}  // namespace

BulkFill::BulkFill(Content& content, Filler& filler, const Clock& clock,
                   std::atomic<std::uint64_t>& pending_bytes, UnderWay& under_way, Calls calls)
    : content_(content),
      filler_(filler),
      clock_(clock),
      pending_bytes_(pending_bytes),
      under_way_(under_way),
      calls_(std::move(calls)),
      last_checkpoint_(clock.now()),
      stored_at_checkpoint_(filler.counters().bytes_stored),
      stored_at_room_check_(stored_at_checkpoint_),
      batch_goal_(first_batch),
      rate_begin_(clock.now()),
      fetched_at_rate_(bytes_of_bulk()),
      write_back_(
          [&content](FileIndex file, ByteRange range) { begin_to_write(content, file, range); }) {
  under_way_.restart();
}

Status BulkFill::prepare(std::stop_token stop) {
  ICBD_TRY(resolve_all(stop));
  ICBD_ASSIGN(const std::uint64_t all, bytes_to_store(stop));
  if (const Status room = calls_.check_room(all); !room) {
    if (room.error().code() != ErrorCode::no_space) return room;
    // What can be shared with what is here takes none.
    ICBD_TRY(fill_here(stop));
    ICBD_ASSIGN(const std::uint64_t rest, bytes_to_store(stop));
    ICBD_TRY(calls_.check_room(rest));
  }
  if (pending_bytes_ != 0) return calls_.remember();
  return {};
}

Status BulkFill::fill_here(std::stop_token stop) {
  only_here_ = true;
  const Status filled = plan_files(stop, [](const manifest::Entry&) { return true; });
  only_here_ = false;
  release(std::exchange(batch_, {}));
  left_to_readers_.clear();  // run() meets them again
  return filled;
}

Status BulkFill::upkeep() {
  ICBD_TRY(maybe_checkpoint());
  return maybe_check_room();
}

Status BulkFill::run(std::stop_token stop) {
  std::vector<std::jthread> threads;
  threads.reserve(workers);
  Status planned;
  try {
    for (unsigned i = 0; i < workers; ++i) threads.emplace_back([this] { work(); });
  } catch (const std::system_error& error) {
    // With one it goes on, only slower.
    if (threads.empty())
      planned = fail(ErrorCode::busy, fmt::format("start a thread that fetches: {}", error.what()));
  }
  if (planned) planned = plan(stop);
  if (planned) planned = wait_until_drained();
  if (const Status kept = end_checkpoint(); planned) planned = kept;
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  changed_.notify_all();
  threads.clear();  // joins: every batch that was taken is finished
  release(batch_);
  release(repeated_);
  for (; !batches_.empty(); batches_.pop()) {
    release(batches_.front()->chunks);
    under_way_.ended(*batches_.front());
  }
  if (failure_) return std::unexpected(*failure_);
  if (planned) pending_bytes_ = 0;  // also what readers have brought
  return planned;
}

// Compares everything with the manifest first: then it is known what is to come.
Status BulkFill::resolve_all(std::stop_token stop) {
  std::uint64_t pending = 0;
  const auto& entries = content_.entries();
  for (std::uint32_t i = 0; i < entries.size(); ++i) {
    if (entries[i].type != manifest::EntryType::file) continue;
    if (stop.stop_requested()) return fail(ErrorCode::cancelled, "stopping");
    const FileIndex file(i);
    ICBD_TRY(content_.fetch_digest_pages(file));
    const std::uint32_t count = entries[i].chunk_count();
    for (std::uint32_t at = 0; at < count; at += run_chunks)
      ICBD_TRY(content_.resolve(file, ChunkIndex(at), std::min(run_chunks, count - at)));
    for (std::uint32_t chunk = 0; chunk < count; ++chunk)
      if (content_.chunks().state(content_.chunks().number(file, ChunkIndex(chunk))) !=
          ChunkState::done)
        pending += entries[i].chunk_range(ChunkIndex(chunk)).length;
  }
  pending_bytes_ = pending;
  return {};
}

// What will be written of what is pending: neither chunks of zeros nor what of one is the parent's.
Result<std::uint64_t> BulkFill::bytes_to_store(const std::stop_token& stop) {
  std::uint64_t bytes = 0;
  const auto& entries = content_.entries();
  for (std::uint32_t i = 0; i < entries.size(); ++i) {
    if (entries[i].type != manifest::EntryType::file) continue;
    if (stop.stop_requested()) return fail(ErrorCode::cancelled, "stopping");
    const FileIndex file(i);
    for (std::uint32_t at = 0; at < entries[i].chunk_count(); at += run_chunks) {
      ICBD_ASSIGN(const std::uint64_t of_run,
                  bytes_to_store(file, at, std::min(run_chunks, entries[i].chunk_count() - at)));
      bytes += of_run;
    }
  }
  return bytes;
}

Result<std::uint64_t> BulkFill::bytes_to_store(FileIndex file, std::uint32_t first,
                                               std::uint32_t count) {
  const Digest zeros = sha256_of_zeros(limits::chunk_size);
  std::uint64_t bytes = 0;
  std::vector<Digest> digests;  // looked up when the first pending chunk is met
  for (std::uint32_t i = 0; i < count; ++i) {
    const ChunkIndex chunk(first + i);
    if (content_.chunks().state(content_.chunks().number(file, chunk)) == ChunkState::done)
      continue;
    if (digests.empty()) {
      ICBD_ASSIGN(digests, content_.digests(file, ChunkIndex(first), count));
    }
    if (digests[i] == zeros) continue;
    for (const ByteRange range : content_.missing_ranges(file, chunk)) bytes += range.length;
  }
  return bytes;
}

Status BulkFill::plan(std::stop_token stop) {
  const catalog::VersionFacts& facts = content_.version().facts;
  const auto boots = [&](const manifest::Entry& entry) {
    return !facts.boot_directory.empty() && entry.path.starts_with(facts.boot_directory) &&
           entry.path.substr(facts.boot_directory.size()).starts_with('/');
  };
  const auto is_target = [&](const manifest::Entry& entry) {
    return entry.path == facts.target_file;
  };
  ICBD_TRY(plan_files(stop, boots));
  ICBD_TRY(fill_repeated(stop));
  ICBD_TRY(plan_files(stop, is_target));
  ICBD_TRY(fill_repeated(stop));
  ICBD_TRY(plan_files(
      stop, [&](const manifest::Entry& entry) { return !boots(entry) && !is_target(entry); }));
  ICBD_TRY(push_batch(stop));
  ICBD_TRY(fill_repeated(stop));
  return fill_left_to_readers(stop);
}

Status BulkFill::plan_files(std::stop_token stop,
                            const std::function<bool(const manifest::Entry&)>& which) {
  const auto& entries = content_.entries();
  for (std::uint32_t i = 0; i < entries.size(); ++i) {
    if (entries[i].type != manifest::EntryType::file || !which(entries[i])) continue;
    OpenForWriting writer(content_, &write_back_);
    for (std::uint32_t at = 0; at < entries[i].chunk_count(); at += run_chunks)
      ICBD_TRY(plan_run(FileIndex(i), ChunkIndex(at),
                        std::min(run_chunks, entries[i].chunk_count() - at), writer, stop));
  }
  return {};
}

// What readers fetch is waited for; what they gave up is fetched after all.
Status BulkFill::fill_left_to_readers(std::stop_token stop) {
  while (!left_to_readers_.empty()) {
    const auto tasks = std::exchange(left_to_readers_, {});
    for (const ChunkTask& task : tasks) {
      OpenForWriting writer(content_, &write_back_);
      ICBD_TRY(plan_run(task.file, task.chunk, 1, writer, stop));
    }
    ICBD_TRY(push_batch(stop));
    ICBD_TRY(fill_repeated(stop));
    if (left_to_readers_.empty()) return {};
    if (stop.stop_requested()) return fail(ErrorCode::cancelled, "stopping");
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, reader_poll, [&] { return failure_.has_value(); });
    if (failure_) return std::unexpected(*failure_);
  }
  return {};
}

Status BulkFill::plan_run(FileIndex file, ChunkIndex first, std::uint32_t count,
                          OpenForWriting& writer, std::stop_token stop) {
  std::vector<Digest> digests;  // looked up when the first pending chunk is met
  for (std::uint32_t i = 0; i < count; ++i) {
    const ChunkIndex chunk(first.value() + i);
    const ChunkNumber number = content_.chunks().number(file, chunk);
    if (!content_.chunks().claim(number)) {
      if (content_.chunks().state(number) != ChunkState::done)
        left_to_readers_.push_back({file, chunk, {}});
      continue;
    }
    batch_.push_back({file, chunk, {}});  // now it is released if anything fails
    if (stop.stop_requested()) return fail(ErrorCode::cancelled, "stopping");
    if (digests.empty()) {
      ICBD_ASSIGN(digests, content_.digests(file, first, count));
    }
    batch_.back().digest = digests[i];
    ICBD_TRY(fill_last_of_batch(writer, stop));
  }
  return {};
}

// From here, if that is possible; else it stays in the batch, to be fetched.
Status BulkFill::fill_last_of_batch(OpenForWriting& writer, const std::stop_token& stop) {
  const ChunkTask& task = batch_.back();
  ICBD_ASSIGN(const bool filled, filler_.fill_locally(task, writer));
  if (filled) count_down(task);
  if (only_here_ && !filled)
    content_.chunks().release(content_.chunks().number(task.file, task.chunk));
  if (filled || only_here_) {
    batch_.pop_back();
    return {};
  }
  if (is_asked_for(task)) {
    batch_.pop_back();
    return repeated_.size() < repeated_chunks ? Status() : fill_repeated(stop);
  }
  return count_last_of_batch(stop);
}

// Sends the batch on when it is large enough.
Status BulkFill::count_last_of_batch(const std::stop_token& stop) {
  const ChunkTask& task = batch_.back();
  batch_size_ += content_.entry(task.file).chunk_range(task.chunk).length;
  for (const ByteRange range : content_.missing_ranges(task.file, task.chunk))
    batch_missing_ += range.length;
  if (batch_size_ >= batch_goal_ || batch_.size() >= batch_chunks) return push_batch(stop);
  return {};
}

// Then it is filled when the first of its digest is here.
bool BulkFill::is_asked_for(const ChunkTask& task) {
  if (content_.entry(task.file).chunk_range(task.chunk).length < smallest_repeated) return false;
  if (asked_for_.find(task.digest)) {
    repeated_.push_back(task);
    return true;
  }
  asked_for_.remember(task);
  return false;
}

// Each from the first of its digest; where that has not come, or has been forgotten for another, it
// is asked for after all.
Status BulkFill::fill_repeated(const std::stop_token& stop) {
  if (repeated_.empty()) return {};
  ICBD_TRY(push_batch(stop));
  ICBD_TRY(wait_until_drained());
  OpenForWriting writer(content_, &write_back_);
  while (!repeated_.empty()) {
    if (stop.stop_requested()) return fail(ErrorCode::cancelled, "stopping");
    const ChunkTask task = repeated_.back();
    const auto first = asked_for_.find(task.digest);
    bool filled = false;
    if (first) {
      ICBD_ASSIGN(filled, filler_.fill_from(*first, task, writer));
    }
    repeated_.pop_back();
    if (filled) {
      count_down(task);
    } else {
      batch_.push_back(task);
      ICBD_TRY(count_last_of_batch(stop));
    }
  }
  return push_batch(stop);
}

Status BulkFill::push_batch(const std::stop_token& stop) {
  ICBD_TRY(upkeep());
  const std::uint64_t missing = std::exchange(batch_missing_, 0);
  pace(missing, stop);
  set_batch_goal();
  if (batch_.empty()) return {};
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return failure_ || batches_.size() < queued_batches; });
  if (failure_) return std::unexpected(*failure_);
  // What was before the link had something to do says nothing about it.
  if (batches_.empty() && in_work_ == 0) begin_rate();
  batches_.push(&under_way_.asked({.chunks = std::exchange(batch_, {}), .bytes = missing}));
  batch_size_ = 0;
  changed_.notify_all();
  return {};
}

// Signed: the two are not counted at the same moment.
std::int64_t BulkFill::bytes_of_bulk() const {
  return static_cast<std::int64_t>(filler_.counters().bytes_fetched) -
         static_cast<std::int64_t>(filler_.counters().bytes_demanded);
}

void BulkFill::begin_rate() {
  rate_begin_ = clock_.now();
  fetched_at_rate_ = bytes_of_bulk();
}

// By what came lately.
void BulkFill::set_batch_goal() {
  const std::chrono::duration<double> time = clock_.now() - rate_begin_;
  if (time < rate_window) return;
  const double came = std::max(0.0, static_cast<double>(bytes_of_bulk() - fetched_at_rate_));
  const double rate = came / time.count();
  begin_rate();
  batch_goal_ = std::clamp(static_cast<std::uint64_t>(rate * batch_time.count()), smallest_batch,
                           largest_batch);
  if (came > 0) under_way_.set_rate(rate);
}

// The limit is for all arrivals together. Paid before it is asked for: with many requests under
// way, what came is known too late.
void BulkFill::pace(std::uint64_t bytes, const std::stop_token& stop) {
  const auto pause = calls_.pace(bytes);
  if (pause <= Clock::Duration::zero()) return;
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, stop, pause, [&] { return failure_.has_value(); });
}

void BulkFill::work() {
  OpenForWriting writer(content_, &write_back_);
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return closed_ || failure_ || !batches_.empty(); });
    if (failure_ || batches_.empty()) return;
    const UnderWay::Batch& batch = *batches_.front();
    batches_.pop();
    ++in_work_;
    changed_.notify_all();
    lock.unlock();
    const Status fetched = filler_.fetch(batch.chunks, source::Priority::bulk, writer);
    if (fetched)
      std::ranges::for_each(batch.chunks, [&](auto& task) { count_down(task); });
    else
      release(batch.chunks);
    under_way_.ended(batch);
    lock.lock();
    --in_work_;
    if (!fetched && !failure_) failure_ = fetched.error();
    changed_.notify_all();
  }
}

Status BulkFill::wait_until_drained() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return failure_ || (batches_.empty() && in_work_ == 0); });
  return {};
}

Status BulkFill::maybe_checkpoint() {
  const std::uint64_t stored = filler_.counters().bytes_stored;
  const auto now = clock_.now();
  const bool due =
      stored - stored_at_checkpoint_ >= checkpoint_bytes ||
      (stored != stored_at_checkpoint_ && now - last_checkpoint_ >= checkpoint_interval);
  if (!due) return {};
  if (checkpoint_.valid()) {
    // One at a time; and not so slowly that a crash would cost much more than it should.
    const bool behind = stored - stored_at_checkpoint_ >= 2 * checkpoint_bytes;
    if (!behind && checkpoint_.wait_for(0s) != std::future_status::ready) return {};
    ICBD_TRY(checkpoint_.get());
  }
  last_checkpoint_ = now;
  stored_at_checkpoint_ = stored;
  checkpoint_ = in_background(calls_.checkpoint);
  return {};
}

Status BulkFill::end_checkpoint() {
  if (!checkpoint_.valid()) return {};
  return checkpoint_.get();
}

Status BulkFill::maybe_check_room() {
  const std::uint64_t stored = filler_.counters().bytes_stored;
  if (stored - stored_at_room_check_ < room_check_bytes) return {};
  stored_at_room_check_ = stored;
  return calls_.check_room(std::min<std::uint64_t>(pending_bytes_, room_check_bytes));
}

void BulkFill::release(const Batch& batch) {
  for (const ChunkTask& task : batch)
    content_.chunks().release(content_.chunks().number(task.file, task.chunk));
}

void BulkFill::count_down(const ChunkTask& task) {
  pending_bytes_ -= content_.entry(task.file).chunk_range(task.chunk).length;
}

}  // namespace icbd::replicator
