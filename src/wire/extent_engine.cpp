#include "extent_engine.h"

#include <pthread.h>
#include <xxhash.h>

#include <algorithm>
#include <ctime>
#include <memory>

#include "icbd/base/limits.h"

#include "messages.h"

namespace icbd::wire {
namespace {

constexpr std::uint64_t unit_bytes = 1024 * 1024;
// Of all connections together, as long as each has no less than the least.
constexpr std::uint64_t windows_bytes = 24 * unit_bytes;
constexpr std::uint64_t window_least = 2 * unit_bytes;
constexpr std::uint64_t window_most = 4 * unit_bytes;
// Extents of one unit, and so of one frame.
constexpr std::size_t unit_extents = 512;
static_assert(unit_extents <= extents_per_frame);
// What is packed by itself: as much as BTRFS packs together. More gains little, and a reader's
// bytes come later.
constexpr std::uint64_t packed_frame_bytes = limits::chunk_size;

// Of this thread: others may be using the processor too.
Clock::Duration processor_time() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::duration_cast<Clock::Duration>(std::chrono::seconds(time.tv_sec) +
                                                     std::chrono::nanoseconds(time.tv_nsec));
}

// True if the two belong into units of their own.
bool is_border(const source::Extent& before, const source::Extent& next) {
  return before.file == next.file &&
         before.range.offset / unit_bytes != next.range.offset / unit_bytes;
}

std::uint64_t data_bytes(std::span<const source::ExtentData> extents) {
  std::uint64_t bytes = 0;
  for (const source::ExtentData& data : extents) bytes += data.data.size();
  return bytes;
}

PreparedFrame plain_frame(std::span<const source::ExtentData> extents) {
  PreparedFrame frame{.head = encode_extents_table(extents), .extents = {}};
  frame.extents.assign(extents.begin(), extents.end());
  frame.plain_length = static_cast<std::uint32_t>(frame.head.size() + data_bytes(extents));
  return frame;
}

PreparedFrame encoded_frame(std::span<const source::EncodedExtent> extents) {
  PreparedFrame frame{.type = FrameType::encoded_reply,
                      .head = encode_encoded_table(extents),
                      .extents = {},
                      .encoded = {}};
  frame.encoded.assign(extents.begin(), extents.end());
  return frame;
}

std::size_t size_of(const source::ExtentData& extent) {
  return extent.data.size();
}
std::size_t size_of(const source::EncodedExtent& extent) {
  return sent_part(extent).size();
}

// How many of the extents one frame of so many bytes takes; one at least.
template <typename Extent>
std::size_t frame_of(std::span<const Extent> extents, std::uint64_t frame_bytes) {
  std::uint64_t bytes = 0;
  std::size_t count = 0;
  for (; count < extents.size(); ++count) {
    bytes += size_of(extents[count]);
    if (count != 0 && bytes > frame_bytes) break;
  }
  return count;
}

template <typename Extent, typename MakeFrame>
void cut_into_frames(std::span<const Extent> extents, std::uint64_t frame_bytes,
                     const MakeFrame& make_frame, std::vector<PreparedFrame>& frames) {
  while (!extents.empty()) {
    const auto part = extents.first(frame_of(extents, frame_bytes));
    frames.push_back(make_frame(part));
    extents = extents.subspan(part.size());
  }
}

// Packs frame by frame; what does not get smaller goes as it is.
Result<std::vector<PreparedFrame>> pack(std::span<const source::ExtentData> extents,
                                        codec::Setting setting, codec::Packed& packing) {
  ICBD_ASSIGN(const auto compressor, codec::make_compressor(setting));
  std::vector<PreparedFrame> frames;
  Bytes plain;
  while (!extents.empty()) {
    const auto part = extents.first(frame_of(extents, packed_frame_bytes));
    PreparedFrame frame = plain_frame(part);
    plain = frame.head;
    for (const source::ExtentData& data : part)
      plain.insert(plain.end(), data.data.begin(), data.data.end());
    Bytes packed;
    ICBD_ASSIGN(const bool smaller, compressor->compress(plain, packed));
    packing.plain += plain.size();
    packing.packed += smaller ? packed.size() : plain.size();
    if (smaller) {
      frame.codec = setting.algorithm;
      frame.head = std::move(packed);
      frame.extents.clear();
    }
    frames.push_back(std::move(frame));
    extents = extents.subspan(part.size());
  }
  return frames;
}

// Packs the first frame's worth, and throws it away.
void measure(std::span<const source::ExtentData> extents, codec::Setting setting,
             codec::Packed& sample) {
  const Clock::Duration begun = processor_time();
  static_cast<void>(pack(extents.first(frame_of(extents, packed_frame_bytes)), setting, sample));
  sample.time = processor_time() - begun;
}

}  // namespace

std::vector<ByteView> PreparedFrame::pieces() const {
  std::vector<ByteView> pieces{head};
  for (const source::ExtentData& data : extents) pieces.push_back(data.data);
  for (const source::EncodedExtent& extent : encoded) pieces.push_back(sent_part(extent));
  return pieces;
}

std::uint64_t Unit::bytes() const {
  std::uint64_t bytes = 0;
  for (const source::Extent& extent : extents) bytes += extent.range.length;
  return bytes;
}

std::vector<Unit> cut_into_units(const Digest& manifest, source::Priority priority,
                                 std::span<const source::Extent> extents) {
  std::vector<Unit> units;
  std::uint64_t bytes = 0;
  for (const source::Extent& extent : extents) {
    const bool begins = units.empty() || bytes + extent.range.length > unit_bytes ||
                        units.back().extents.size() == unit_extents ||
                        is_border(units.back().extents.back(), extent);
    if (begins) {
      units.push_back({.manifest = manifest, .priority = priority, .setting = {}, .extents = {}});
      bytes = 0;
    }
    units.back().extents.push_back(extent);
    bytes += extent.range.length;
  }
  return units;
}

namespace {

// Moves what lies from `border` on from the end of one unit to the beginning of the next; nothing
// if that would be all of it.
void move_border(Unit& before, Unit& next, std::uint64_t border) {
  const FileIndex file = next.extents.front().file;
  std::uint64_t begin = next.extents.front().range.offset;
  std::vector<source::Extent> moved;
  for (auto last = before.extents.rbegin(); last != before.extents.rend() && begin > border &&
                                            last->file == file && last->range.end() == begin;
       ++last) {
    begin = std::max(border, last->range.offset);
    moved.push_back({file, {begin, last->range.end() - begin}});
  }
  if (moved.empty() ||
      (moved.size() == before.extents.size() && moved.back() == before.extents.front()))
    return;
  before.extents.resize(before.extents.size() - moved.size() + 1);
  source::Extent& cut = before.extents.back();
  cut.range.length -= moved.back().range.length;
  if (cut.range.empty()) before.extents.pop_back();
  next.extents.insert(next.extents.begin(), moved.rbegin(), moved.rend());
}

}  // namespace

std::vector<Unit> ExtentEngine::cut(const ExtentsRequest& request) const {
  auto units = cut_into_units(request.manifest, request.priority, request.extents);
  if (!request.encoded) return units;
  for (Unit& unit : units) unit.encoded = true;
  for (std::size_t i = 1; i < units.size(); ++i) {
    const source::Extent last = units[i - 1].extents.back();
    const source::Extent first = units[i].extents.front();
    if (last.file != first.file || last.range.end() != first.range.offset) continue;
    // What is wrong with the version is the units' to find out.
    const auto border = source_.extent_border(request.manifest, first.file, first.range.offset);
    if (border) move_border(units[i - 1], units[i], *border);
  }
  return units;
}

const Result<std::vector<PreparedFrame>>& PreparedUnit::wait() {
  std::unique_lock lock(mutex_);
  finished_.wait(lock, [&] { return frames_.has_value(); });
  return *frames_;  // NOLINT(bugprone-unchecked-optional-access): just waited for
}

bool PreparedUnit::failed() const {
  const std::lock_guard lock(mutex_);
  return frames_ && !*frames_;
}

bool PreparedUnit::is_prepared() const {
  const std::lock_guard lock(mutex_);
  return frames_ && *frames_;
}

void PreparedUnit::finish(Result<std::vector<PreparedFrame>> frames, const Packing& packing) {
  {
    const std::lock_guard lock(mutex_);
    packing_ = packing;
    frames_ = std::move(frames);
  }
  finished_.notify_all();
}

ExtentEngine::ExtentEngine(source::Source& source, const Options& options)
    : source_(source), options_(options) {
  for (unsigned i = 0; i <= options_.workers; ++i)
    workers_.emplace_back(
        [this, demand_only = i == 0](const std::stop_token& stop) { work(stop, demand_only); });
}

ExtentEngine::~ExtentEngine() {
  for (std::jthread& worker : workers_) worker.request_stop();
  workers_.clear();  // joins
}

std::uint64_t ExtentEngine::window_bytes() const {
  const std::uint64_t busy = std::max<std::uint64_t>(1, busy_connections_.load());
  return std::clamp(windows_bytes / busy, window_least, window_most);
}

ExtentEngine::Queue::Queue(ExtentEngine& engine) : engine_(engine) {
  const std::lock_guard lock(engine_.mutex_);
  engine_.queues_.push_back(this);
}

ExtentEngine::Queue::~Queue() {
  std::deque<std::shared_ptr<PreparedUnit>> given_up;  // destroyed without the lock
  const std::lock_guard lock(engine_.mutex_);
  std::erase(engine_.queues_, this);
  if (sends_bulk_) --engine_.bulk_queues_;
  given_up.swap(waiting_);
  if (engine_.bulk_queues_ > 1) return;
  // There is nobody left to share with.
  engine_.shared_.clear();
  engine_.shared_order_.clear();
  engine_.shared_size_ = 0;
}

// A shared unit stands in the queues of all that wait for it: whoever's turn comes first has it
// prepared, and it does not depend on any one of them.
std::shared_ptr<PreparedUnit> ExtentEngine::Queue::submit(Unit unit) {
  const bool bulk = unit.priority == source::Priority::bulk;
  std::shared_ptr<PreparedUnit> submitted;
  {
    const std::lock_guard lock(engine_.mutex_);
    if (bulk && !sends_bulk_) {
      sends_bulk_ = true;
      ++engine_.bulk_queues_;
    }
    // With one cache there is nobody to share with.
    if (bulk && engine_.bulk_queues_ > 1) {
      const Key key = key_of(unit);
      submitted = engine_.find_shared(unit, key);
      if (!submitted) {
        submitted = std::make_shared<PreparedUnit>(std::move(unit));
        engine_.share(key, submitted);
      }
    } else {
      submitted = std::make_shared<PreparedUnit>(std::move(unit));
    }
    waiting_.push_back(submitted);
  }
  if (!bulk) engine_.demand_.notify_one();
  engine_.bulk_.notify_one();
  return submitted;
}

ExtentEngine::Key ExtentEngine::key_of(const Unit& unit) {
  const Bytes request = encode(ExtentsRequest{.manifest = unit.manifest,
                                              .priority = unit.priority,
                                              .encoded = unit.encoded,
                                              .extents = unit.extents});
  const XXH128_hash_t hash = XXH3_128bits(request.data(), request.size());
  return {hash.high64, hash.low64};
}

// With mutex_ held, as the next three.
std::shared_ptr<PreparedUnit> ExtentEngine::find_shared(const Unit& unit, Key key) {
  const auto found = shared_.find(key);
  if (found == shared_.end() || !found->second->unit().serves(unit) || found->second->failed())
    return nullptr;
  counters_.units_shared.fetch_add(1, std::memory_order_relaxed);
  return found->second;
}

void ExtentEngine::share(Key key, const std::shared_ptr<PreparedUnit>& unit) {
  const auto [place, added] = shared_.insert_or_assign(key, unit);
  if (!added) return;  // in the place of one that had failed, or of another setting
  shared_order_.push_back(key);
  shared_size_ += unit->unit().bytes();
  while (shared_size_ > options_.shared_bytes && shared_order_.size() > 1) {
    const auto oldest = shared_.find(shared_order_.front());
    shared_order_.pop_front();
    if (oldest == shared_.end()) continue;
    shared_size_ -= std::min(shared_size_, oldest->second->unit().bytes());
    shared_.erase(oldest);
  }
}

// The first that nobody has begun; null if there is none.
std::shared_ptr<PreparedUnit> ExtentEngine::take_from(Queue& queue) {
  while (!queue.waiting_.empty()) {
    auto unit = std::move(queue.waiting_.front());
    queue.waiting_.pop_front();
    if (unit->claim()) return unit;
  }
  return nullptr;
}

// Whoever was served longest ago.
std::shared_ptr<PreparedUnit> ExtentEngine::next_of(source::Priority priority) {
  for (auto place = queues_.begin(); place != queues_.end(); ++place) {
    Queue& queue = **place;
    if (queue.waiting_.empty() || queue.waiting_.front()->unit().priority != priority) continue;
    auto unit = take_from(queue);
    if (!unit) continue;
    queues_.splice(queues_.end(), queues_, place);
    return unit;
  }
  return nullptr;
}

std::shared_ptr<PreparedUnit> ExtentEngine::next(bool demand_only) {
  auto unit = next_of(source::Priority::demand);
  if (!unit && !demand_only) unit = next_of(source::Priority::bulk);
  return unit;
}

void ExtentEngine::work(const std::stop_token& stop, bool demand_only) {
  pthread_setname_np(pthread_self(), demand_only ? "extents-demand" : "extents");
  while (true) {
    std::shared_ptr<PreparedUnit> unit;
    {
      std::unique_lock lock(mutex_);
      std::condition_variable_any& changed = demand_only ? demand_ : bulk_;
      changed.wait(lock, stop, [&] { return (unit = next(demand_only)) != nullptr; });
    }
    if (!unit) return;
    prepare(*unit);
  }
}

// What a source gave of a unit.
struct ExtentEngine::Read {
  std::vector<source::ExtentData> plain;
  std::vector<source::EncodedExtent> encoded;
};

source::Priority ExtentEngine::priority_of(const Unit& unit) const {
  const std::lock_guard lock(mutex_);
  const bool for_others_too = unit.priority == source::Priority::bulk && bulk_queues_ > 1;
  return for_others_too ? source::Priority::shared_bulk : unit.priority;
}

Result<ExtentEngine::Read> ExtentEngine::read(const Unit& unit) const {
  Read read;
  read.plain.reserve(unit.extents.size());
  const auto take = [&](const source::ExtentData& data) -> Status {
    if (data.all_zero ? !data.data.empty() : data.data.size() != data.extent.range.length)
      return fail(ErrorCode::internal, "the source delivered an extent of another length");
    read.plain.push_back(data);
    if (data.owner || data.data.empty()) return {};
    // The source may go on to reuse what it owns itself once this call returns.
    const auto copy = std::make_shared<Bytes>(data.data.begin(), data.data.end());
    read.plain.back().owner = copy;
    read.plain.back().data = *copy;
    return {};
  };
  const auto take_encoded = [&](const source::EncodedExtent& extent) -> Status {
    read.encoded.push_back(extent);
    return {};
  };
  if (unit.encoded)
    ICBD_TRY(source_.encoded_extents(unit.manifest, unit.extents,
                                     {.plain = take, .encoded = take_encoded}));
  else
    ICBD_TRY(source_.extents(unit.manifest, unit.extents, priority_of(unit), take));
  return read;
}

void ExtentEngine::prepare(PreparedUnit& prepared) {
  const Unit& unit = prepared.unit();
  counters_.units_prepared.fetch_add(1, std::memory_order_relaxed);
  PreparedUnit::Packing packing;
  auto read = this->read(unit);
  if (!read) return prepared.finish(std::unexpected(read.error()), packing);
  const std::vector<source::ExtentData>& extents = read->plain;
  std::vector<PreparedFrame> frames;
  cut_into_frames(std::span<const source::EncodedExtent>(read->encoded), unit.frame_bytes,
                  encoded_frame, frames);
  if (extents.empty() && !frames.empty()) return prepared.finish(std::move(frames), packing);
  if (unit.sample) measure(extents, *unit.sample, packing.sample);
  if (unit.setting.algorithm == codec::Algorithm::none) {
    cut_into_frames(std::span(extents), unit.frame_bytes, plain_frame, frames);
    for (const PreparedFrame& frame : frames) packing.all.plain += frame.plain_length;
    packing.all.packed = packing.all.plain;
    return prepared.finish(std::move(frames), packing);
  }
  const Clock::Duration begun = processor_time();
  auto packed = pack(extents, unit.setting, packing.all);
  packing.all.time = processor_time() - begun;
  if (packed)
    packed->insert(packed->begin(), std::make_move_iterator(frames.begin()),
                   std::make_move_iterator(frames.end()));
  prepared.finish(std::move(packed), packing);
}

}  // namespace icbd::wire
