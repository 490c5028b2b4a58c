// Chunks that have been asked for lately, by their digest: what occurs again in the same version is
// asked for once.
//
// Purpose: an image holds copies of its own files (a boot image and its fallback, a template and
// what was made from it). Memory: at most 3 MiB, whatever the image's size; each digest has one
// place in a table, and what is remembered there later takes it. So repetitions are found among
// some 65,000 chunks, 8 GiB, and beyond that by luck.
// Not thread-safe: it is the planner's.
#pragma once

#include <cstring>
#include <optional>
#include <vector>

#include "icbd/replicator/filler.h"

namespace icbd::replicator {

class RepeatedChunks {
 public:
  std::optional<ChunkTask> find(const Digest& digest) const {
    if (places_.empty()) return std::nullopt;
    const std::optional<ChunkTask>& place = places_[place_of(digest)];
    return place && place->digest == digest ? place : std::nullopt;
  }
  void remember(const ChunkTask& task) {
    if (places_.empty()) places_.resize(places);
    places_[place_of(task.digest)] = task;
  }

 private:
  static constexpr std::size_t places = 65'536;
  static std::size_t place_of(const Digest& digest) {
    std::uint64_t head = 0;
    std::memcpy(&head, digest.bytes.data(), sizeof head);
    return head % places;
  }

  std::vector<std::optional<ChunkTask>> places_;
};

}  // namespace icbd::replicator
