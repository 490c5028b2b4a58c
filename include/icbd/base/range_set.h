// A set of bytes, as ranges.
//
// Purpose: what is still to come of something that arrives in pieces of any cut.
// Not thread-safe. Ranges must not be so long that their ends overflow.
#pragma once

#include <cstdint>
#include <iterator>
#include <map>

#include "icbd/base/types.h"

namespace icbd {

class RangeSet {
 public:
  // What is in the set already stays.
  void add(ByteRange range) {
    if (range.empty()) return;
    std::uint64_t begin = range.offset;
    std::uint64_t end = range.end();
    auto next = ranges_.upper_bound(begin);
    if (next != ranges_.begin() && std::prev(next)->second >= begin) --next;
    while (next != ranges_.end() && next->first <= end) {
      begin = std::min(begin, next->first);
      end = std::max(end, next->second);
      next = ranges_.erase(next);
    }
    ranges_.emplace_hint(next, begin, end);
  }

  // True if all of the range was in the set; else nothing is taken out. An empty one is in no set.
  bool remove(ByteRange range) {
    const auto after = ranges_.upper_bound(range.offset);
    if (range.empty() || after == ranges_.begin()) return false;
    const auto place = std::prev(after);
    const auto [begin, end] = *place;
    if (end < range.end()) return false;
    ranges_.erase(place);
    if (begin < range.offset) ranges_.emplace(begin, range.offset);
    if (range.end() < end) ranges_.emplace(range.end(), end);
    return true;
  }

  bool empty() const { return ranges_.empty(); }

 private:
  std::map<std::uint64_t, std::uint64_t> ranges_;  // beginning to end; they do not touch
};

}  // namespace icbd
