#include "icbd/replicator/transfer_choice.h"

#include <fmt/format.h>

namespace icbd::replicator {
namespace {

// A stream may bring this much more than what is missing.
constexpr std::uint64_t most_waste_percent = 50;
// How much faster a stream has to be: what is measured differs by more from one time to the next.
constexpr double least_gain = 1.15;
// Of what is measured now in the mean.
constexpr double weight_of_newest = 0.3;

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
  if (!is_tree(facts))
    return extents(
        fmt::format("files of {} bytes, on average", facts.pending_bytes / facts.pending_files));
  if (!facts.extents_speed) return extents("they are measured first");
  if (!facts.stream_speed)
    return {.transfer = Transfer::stream, .why = "many small files: it is measured"};
  const std::string speeds = fmt::format("{:.0f} files a second as extents, {:.0f} as a stream",
                                         *facts.extents_speed, *facts.stream_speed);
  if (*facts.stream_speed < *facts.extents_speed * least_gain) return extents(speeds);
  return {.transfer = Transfer::stream, .why = speeds};
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

void TransferSpeeds::note(Transfer transfer, double files_per_second) {
  const std::lock_guard lock(mutex_);
  auto& speed = speeds_[static_cast<std::size_t>(transfer)];
  speed = speed ? *speed + weight_of_newest * (files_per_second - *speed) : files_per_second;
}

std::optional<double> TransferSpeeds::of(Transfer transfer) const {
  const std::lock_guard lock(mutex_);
  return speeds_[static_cast<std::size_t>(transfer)];
}

bool is_tree(const TransferFacts& facts) {
  return facts.pending_files >= stream_files_min &&
         facts.pending_bytes / facts.pending_files <= stream_file_bytes_max;
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
