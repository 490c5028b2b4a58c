#include "change_map.h"

#include <iterator>
#include <limits>

namespace icbd::sendstream {

void ChangeMap::assign(ByteRange range, Change change) {
  if (range.empty()) return;
  erase(range);
  join_neighbours(segments_.emplace(range.offset, Segment{range.end(), change}).first);
}

void ChangeMap::erase(ByteRange range) {
  if (range.empty()) return;
  auto segment = segments_.lower_bound(range.offset);
  if (segment != segments_.begin()) {
    Segment& before = std::prev(segment)->second;
    if (before.end > range.offset) {
      const Segment cut = before;
      before.end = range.offset;
      if (cut.end > range.end()) segments_.emplace_hint(segment, range.end(), cut);
    }
  }
  while (segment != segments_.end() && segment->first < range.end()) {
    const Segment removed = segment->second;
    segment = segments_.erase(segment);
    if (removed.end > range.end()) segments_.emplace_hint(segment, range.end(), removed);
  }
}

std::vector<ByteRange> ChangeMap::ranges(Change change) const {
  return ranges(change, {0, std::numeric_limits<std::uint64_t>::max()});
}

std::vector<ByteRange> ChangeMap::ranges(Change change, ByteRange within) const {
  std::vector<ByteRange> found;
  auto segment = segments_.upper_bound(within.offset);
  if (segment != segments_.begin()) --segment;
  for (; segment != segments_.end() && segment->first < within.end(); ++segment) {
    if (segment->second.change != change) continue;
    const ByteRange whole{segment->first, segment->second.end - segment->first};
    if (const ByteRange part = intersect(whole, within); !part.empty()) found.push_back(part);
  }
  return found;
}

void ChangeMap::join_neighbours(Segments::iterator segment) {
  const auto joins = [](const Segments::iterator& left, const Segments::iterator& right) {
    return left->second.end == right->first && left->second.change == right->second.change;
  };
  if (const auto next = std::next(segment); next != segments_.end() && joins(segment, next)) {
    segment->second.end = next->second.end;
    segments_.erase(next);
  }
  if (segment == segments_.begin()) return;
  if (const auto previous = std::prev(segment); joins(previous, segment)) {
    previous->second.end = segment->second.end;
    segments_.erase(segment);
  }
}

}  // namespace icbd::sendstream
