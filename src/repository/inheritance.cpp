#include "inheritance.h"

#include <fmt/format.h>

#include <algorithm>

#include "icbd/btrfs/subvolume.h"
#include "icbd/repository/parent_names.h"
#include "icbd/sendstream/decoder.h"

namespace icbd::repository {
namespace {

using manifest::Entry;
using manifest::EntryType;
using sendstream::Lineage;

Status follow_shape(int root_fd, int previous_root_fd, sendstream::TreeModel& model) {
  sendstream::Decoder decoder;
  std::uint64_t received = 0;
  const auto follow = [&](ByteView piece) -> Status {
    received += piece.size();
    if (received > limits::shape_bytes)
      return fail(ErrorCode::too_large,
                  fmt::format("the shape is larger than {} bytes", limits::shape_bytes));
    decoder.feed(piece);
    while (true) {
      ICBD_ASSIGN(const auto command, decoder.next());
      if (!command) return {};
      ICBD_TRY(model.apply(*command));
    }
  };
  ICBD_TRY(btrfs::send_shape(root_fd, previous_root_fd, follow));
  return decoder.finish();
}

// Chunks of `count` that the ranges touch.
void mark_touched(std::vector<bool>& touched, const std::vector<ByteRange>& ranges) {
  const std::uint64_t size = touched.size() * std::uint64_t{limits::chunk_size};
  for (const ByteRange& range : ranges) {
    // A range may reach far beyond the file, up to an end that does not fit 64 bits.
    if (range.empty() || range.offset >= size) continue;
    const std::uint64_t last = range.offset + std::min(range.length, size - range.offset) - 1;
    for (std::uint64_t chunk = range.offset / limits::chunk_size;
         chunk <= last / limits::chunk_size; ++chunk)
      touched[chunk] = true;
  }
}

}  // namespace

Inheritance::Inheritance(PreviousVersion previous, manifest::Reader reader,
                         std::vector<Entry> entries, sendstream::TreeModel model)
    : previous_(std::move(previous)),
      reader_(std::move(reader)),
      entries_(std::move(entries)),
      model_(std::move(model)) {}

Result<Inheritance> Inheritance::prepare(int root_fd, const PreviousVersion& previous) {
  ICBD_ASSIGN(auto reader, manifest::Reader::open(*previous.pages, previous.manifest));
  ICBD_ASSIGN(auto entries, reader.entries());
  ICBD_ASSIGN(auto model, sendstream::TreeModel::from_parent(parent_names(entries)));
  ICBD_TRY(follow_shape(root_fd, previous.root_fd, model));
  return Inheritance(previous, std::move(reader), std::move(entries), std::move(model));
}

Result<std::uint64_t> Inheritance::take_over(FileChunks& file) const {
  const Lineage* lineage = model_.lineage(file.entry->path);
  if (!lineage || !lineage->parent) return 0;
  const Entry& parent = entries_.at(lineage->parent->value());
  if (parent.type != EntryType::file) return 0;
  const std::uint32_t common = std::min(file.entry->chunk_count(), parent.chunk_count());
  if (common == 0) return 0;
  std::vector<bool> touched(common);
  mark_touched(touched, lineage->updated);
  mark_touched(touched, lineage->rewritten);
  // Only the last of them can be short, in one file or the other.
  const ChunkIndex last(common - 1);
  if (file.entry->chunk_range(last) != parent.chunk_range(last)) touched[common - 1] = true;

  ICBD_ASSIGN(const auto digests, reader_.chunk_digests(parent, ChunkIndex(0), common));
  std::uint64_t bytes = 0;
  for (std::uint32_t chunk = 0; chunk < common; ++chunk) {
    if (touched[chunk]) continue;
    file.digests[chunk] = digests[chunk];
    file.known[chunk] = true;
    bytes += file.entry->chunk_range(ChunkIndex(chunk)).length;
  }
  return bytes;
}

}  // namespace icbd::repository
