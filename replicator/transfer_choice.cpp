#include "icbd/replicator/transfer_choice.h"

#include <fmt/format.h>

namespace icbd::replicator {
namespace {

// A stream may bring this much more than what is missing.
constexpr std::uint64_t most_waste_percent = 50;

TransferDecision extents(std::string why) {
  return {.transfer = Transfer::extents, .why = std::move(why)};
}

bool is_mostly_here(const TransferFacts& facts) {
  return facts.stream_bytes > facts.pending_bytes + facts.pending_bytes * most_waste_percent / 100;
}

TransferDecision choose_automatically(const TransferFacts& facts) {
  if (facts.readers_wait) return extents("readers wait");
  if (facts.is_read) return extents("it is being read");
  if (facts.pending_files < stream_files_min)
    return extents(fmt::format("{} files have something to come", facts.pending_files));
  const std::uint64_t mean = facts.pending_bytes / facts.pending_files;
  if (mean > stream_file_bytes_max)
    return extents(fmt::format("files of {} bytes, on average", mean));
  return {.transfer = Transfer::stream,
          .why = fmt::format("{} files of {} bytes, on average", facts.pending_files, mean)};
}

}  // namespace

TransferMode transfer_mode(std::string_view word) {
  if (word == "extents") return TransferMode::extents;
  if (word == "stream") return TransferMode::stream;
  return TransferMode::automatic;
}

std::string_view to_string(Transfer transfer) {
  return transfer == Transfer::stream ? "stream" : "extents";
}

TransferDecision choose_transfer(TransferMode mode, const TransferFacts& facts) {
  if (mode == TransferMode::extents) return extents("asked for");
  if (facts.pending_bytes == 0) return extents("nothing is missing");
  if (!facts.unavailable.empty()) return extents(facts.unavailable);
  if (is_mostly_here(facts))
    return extents(fmt::format("{} of the {} bytes of a stream are here already",
                               facts.stream_bytes - facts.pending_bytes, facts.stream_bytes));
  if (mode == TransferMode::automatic) return choose_automatically(facts);
  return {.transfer = Transfer::stream, .why = "asked for"};
}

}  // namespace icbd::replicator
