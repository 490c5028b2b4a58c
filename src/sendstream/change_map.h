// Which ranges of a file are no longer the parent's, and why.
//
// Purpose: the last change of a byte counts, so ranges never overlap. Each call costs the logarithm
// of the number of ranges, whatever the order in which a stream touches the file.
// Not thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "icbd/base/types.h"

namespace icbd::sendstream {

enum class Change : std::uint8_t {
  updated,    // the new content is known to the sender only
  rewritten,  // the stream itself says what is there
};

class ChangeMap {
 public:
  // Everything in `range` changed like this. An empty range changes nothing.
  void assign(ByteRange range, Change change);
  // `range` is the parent's again.
  void erase(ByteRange range);

  bool empty() const { return segments_.empty(); }
  // All ranges of this kind: sorted, disjoint, none of them touching the next.
  std::vector<ByteRange> ranges(Change change) const;
  // Those parts of `within` that have this change.
  std::vector<ByteRange> ranges(Change change, ByteRange within) const;

 private:
  struct Segment {
    std::uint64_t end;
    Change change;
  };
  using Segments = std::map<std::uint64_t, Segment>;  // by offset

  void join_neighbours(Segments::iterator segment);

  Segments segments_;
};

}  // namespace icbd::sendstream
