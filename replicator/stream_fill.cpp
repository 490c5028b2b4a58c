#include "stream_fill.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>
#include <utility>
#include <variant>

#include "icbd/manifest/manifest.h"
#include "icbd/sendstream/decompress.h"

namespace icbd::replicator {
namespace {

// One thread takes the stream apart; these hash and write. More would wait for the same directory
// and tree locks.
constexpr unsigned workers = 2;
constexpr std::size_t batch_bytes_max = 512 * 1024;
constexpr std::size_t batch_pieces_max = 128;
constexpr std::size_t queued_batches = 8;
// Beside the data, what a stream may say of its files.
constexpr std::uint64_t stream_overhead_max = limits::shape_bytes;

}  // namespace

StreamFill::StreamFill(Content& content, Filler& filler, std::atomic<std::uint64_t>& pending_bytes,
                       Calls calls)
    : content_(content), filler_(filler), pending_bytes_(pending_bytes), calls_(std::move(calls)) {}

StreamFill::~StreamFill() {
  end_workers();
}

StreamFill::Outcome StreamFill::run(source::Source& source, std::stop_token stop) {
  for (unsigned i = 0; i < workers; ++i) threads_.emplace_back([this] { work(); });
  source::StreamRequest request{.manifest = content_.version().facts.manifest, .parent = {}};
  if (content_.parent()) request.parent = content_.parent()->version.facts.uuid;
  Status streamed = source.stream(request, [&](ByteView piece) { return take(piece, stop); });
  if (streamed) streamed = decoder_.finish();
  // What came before the stream broke is as good as the rest.
  if (fill_) fill_ = end_piece();
  if (fill_) fill_ = push_batch();
  end_workers();
  if (failure_) fill_ = std::unexpected(*failure_);
  return {.stream = std::move(streamed), .fill = std::move(fill_)};
}

Status StreamFill::take(ByteView piece, const std::stop_token& stop) {
  decoder_.feed(piece);
  if (decoder_.position() > content_.version().facts.file_bytes + stream_overhead_max)
    return fail(ErrorCode::too_large, "the stream is larger than its version can make it");
  while (true) {
    ICBD_ASSIGN(const std::optional<sendstream::Command> command, decoder_.next());
    if (!command) break;
    ICBD_TRY(apply(*command));
  }
  return fill_ = look_after(piece.size(), stop);
}

Status StreamFill::look_after(std::uint64_t bytes, const std::stop_token& stop) {
  if (stop.stop_requested()) return fail(ErrorCode::cancelled, "stopping");
  ICBD_TRY(calls_.upkeep());
  const auto pause = calls_.pace(bytes);
  std::unique_lock lock(mutex_);
  if (pause > std::chrono::nanoseconds::zero())
    changed_.wait_for(lock, stop, pause, [&] { return failure_.has_value(); });
  if (failure_) return std::unexpected(*failure_);
  return {};
}

Status StreamFill::apply(const sendstream::Command& command) {
  if (const auto* plain = std::get_if<sendstream::Write>(&command))
    return write(plain->path, plain->offset, plain->data);
  const auto* packed = std::get_if<sendstream::EncodedWrite>(&command);
  if (packed == nullptr) return {};
  ICBD_ASSIGN(const Bytes data, sendstream::decompress(*packed));
  return write(packed->path, packed->offset, data);
}

// The name that a file has at the end, as a rule: the sender renames before it sends data. Where it
// has another one by then, or another file this one, the digest tells.
std::optional<FileIndex> StreamFill::find(const std::string& path) const {
  const auto& entries = content_.entries();
  const auto index_of = [&](const std::string& name) -> std::optional<FileIndex> {
    const auto found =
        std::ranges::lower_bound(entries, name, manifest::path_less, &manifest::Entry::path);
    if (found == entries.end() || found->path != name) return std::nullopt;
    return FileIndex(static_cast<std::uint32_t>(found - entries.begin()));
  };
  auto file = index_of(path);
  if (file && content_.entry(*file).type == manifest::EntryType::hard_link)
    file = index_of(content_.entry(*file).target);
  if (!file || content_.entry(*file).type != manifest::EntryType::file) return std::nullopt;
  return file;
}

Status StreamFill::write(const std::string& path, std::uint64_t offset, ByteView data) {
  if (path != path_) {
    ICBD_TRY(end_piece());
    path_ = path;
    file_ = find(path);
  }
  if (!file_) return {};
  const FileIndex file = *file_;
  const manifest::Entry& entry = content_.entry(file);
  if (offset >= entry.size) return {};
  data = data.first(std::min<std::uint64_t>(data.size(), entry.size - offset));
  while (!data.empty()) {
    const ChunkIndex chunk(static_cast<std::uint32_t>(offset / limits::chunk_size));
    if (piece_ && piece_->chunk != chunk) ICBD_TRY(end_piece());
    if (!piece_) piece_ = Piece{.file = file, .chunk = chunk, .bytes = {}, .ranges = {}};
    const auto part = std::min<std::uint64_t>(data.size(), entry.chunk_range(chunk).end() - offset);
    add(*piece_, offset, data.first(part));
    offset += part;
    data = data.subspan(part);
  }
  return {};
}

void StreamFill::add(Piece& piece, std::uint64_t offset, ByteView data) const {
  // What is here already is not put together.
  if (content_.chunks().state(content_.chunks().number(piece.file, piece.chunk)) ==
      ChunkState::done)
    return;
  const ByteRange whole = content_.entry(piece.file).chunk_range(piece.chunk);
  piece.bytes.resize(whole.length);
  std::ranges::copy(data, piece.bytes.begin() + static_cast<std::ptrdiff_t>(offset - whole.offset));
  if (!piece.ranges.empty() && piece.ranges.back().end() == offset)
    piece.ranges.back().length += data.size();
  else
    piece.ranges.push_back({offset, data.size()});
}

Status StreamFill::end_piece() {
  if (!piece_) return {};
  Piece piece = std::move(*piece_);
  piece_.reset();
  if (piece.ranges.empty()) return {};
  batch_bytes_ += piece.bytes.size();
  batch_.push_back(std::move(piece));
  if (batch_bytes_ < batch_bytes_max && batch_.size() < batch_pieces_max) return {};
  return push_batch();
}

Status StreamFill::push_batch() {
  batch_bytes_ = 0;
  if (batch_.empty()) return {};
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return failure_ || batches_.size() < queued_batches; });
  if (failure_) return std::unexpected(*failure_);
  batches_.push(std::exchange(batch_, {}));
  changed_.notify_all();
  return {};
}

void StreamFill::work() {
  OpenForWriting writer(content_);
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return closed_ || failure_ || !batches_.empty(); });
    if (failure_ || batches_.empty()) return;
    Batch batch = std::move(batches_.front());
    batches_.pop();
    changed_.notify_all();
    lock.unlock();
    Status stored;
    for (Piece& piece : batch)
      if (stored) stored = store(piece, writer);
    lock.lock();
    if (!stored && !failure_) failure_ = stored.error();
    changed_.notify_all();
  }
}

Status StreamFill::store(Piece& piece, OpenForWriting& writer) {
  const ChunkNumber number = content_.chunks().number(piece.file, piece.chunk);
  if (content_.chunks().state(number) == ChunkState::done) return {};
  ICBD_ASSIGN(const std::vector<Digest> digests, content_.digests(piece.file, piece.chunk, 1));
  const ChunkTask task{.file = piece.file, .chunk = piece.chunk, .digest = digests.front()};
  if (!fill_gaps(task, piece)) return {};  // cannot be read: it comes as extents
  ICBD_ASSIGN(const bool right, filler_.offer(task, piece.bytes, piece.ranges, writer));
  if (right) pending_bytes_ -= piece.bytes.size();
  return {};
}

// What the stream did not write to is what the shape has left there: the parent's bytes, or none.
Status StreamFill::fill_gaps(const ChunkTask& task, Piece& piece) const {
  const ByteRange whole = content_.entry(task.file).chunk_range(task.chunk);
  std::uint64_t written = 0;
  for (const ByteRange range : piece.ranges) written += range.length;
  if (written == whole.length && piece.ranges.size() == 1) return {};
  ICBD_ASSIGN(Bytes base, filler_.staged(task));
  const auto at = [&](std::uint64_t offset) {
    return static_cast<std::ptrdiff_t>(offset - whole.offset);
  };
  for (const ByteRange range : piece.ranges)
    std::copy(piece.bytes.begin() + at(range.offset), piece.bytes.begin() + at(range.end()),
              base.begin() + at(range.offset));
  piece.bytes = std::move(base);
  return {};
}

void StreamFill::end_workers() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  changed_.notify_all();
  threads_.clear();  // joins: what was put together is stored
}

}  // namespace icbd::replicator
