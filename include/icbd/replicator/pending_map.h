// The durable pending map of an arriving version.
//
// Purpose: what a restart needs to go on with an arrival: how each file came to be (the shape's
// lineage, which tells what may be compared and what must be fetched), and which chunks were done
// at the last checkpoint. Written as a whole, so that it is small and never half old: a 4 GiB image
// takes 4 KiB and its changed ranges.
// Format: "icbdpnd2", manifest digest, a byte that says whether all of it is wanted, per entry its
// lineage, chunk count and bitmap, SHA-256 of all before it. Pure; encode and decode only.
#pragma once

#include <span>
#include <vector>

#include "icbd/base/bytes.h"
#include "icbd/base/digest.h"
#include "icbd/base/error.h"
#include "icbd/sendstream/tree_model.h"

namespace icbd::replicator {

struct PendingMap {
  Digest manifest;
  bool wanted = false;                        // is to be filled, not only what readers ask for
  std::vector<sendstream::Lineage> lineages;  // one per manifest entry
  std::vector<bool> done;                     // one per chunk, in manifest order
};

Bytes encode(const PendingMap& map);
// `corrupt` if it is torn, of another format, or its counts are not the expected ones.
Result<PendingMap> decode_pending_map(ByteView bytes, std::size_t entries, std::uint64_t chunks);

}  // namespace icbd::replicator
