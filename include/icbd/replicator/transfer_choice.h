// How the bytes of an arrival are to come: as extents, or as the source's send stream.
//
// Purpose: extents are what is missing and nothing else, can be asked for in any order, and go on
// where they were interrupted. A stream is one request for everything that the version has beside
// its parent, in the order in which the sender's filesystem has it; it costs the sender no search
// for files, and so it can be the faster way for many small ones. Whether it is, depends on the
// sender's disk and on both machines' processors: it is measured, in files per second.
//
// Extents are taken
//   - where the stream was asked for and cannot be had (no parent that both have, an older source);
//   - where most of what the stream would bring is here already: taken from other versions, brought
//     for readers, or come before an interruption;
//   - with `automatic`: for files that are not many or not small, while readers wait, for a version
//     that somebody reads (who reads wants what he reads first), and unless the stream was measured
//     to be faster. Extents are measured first, then the stream once.
// choose_transfer() is pure; TransferSpeeds is thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

namespace icbd::replicator {

enum class TransferMode : std::uint8_t { automatic, extents, stream };
// "auto", "extents", "stream"; anything else is automatic.
TransferMode transfer_mode(std::string_view word);

enum class Transfer : std::uint8_t { extents, stream };
std::string_view to_string(Transfer transfer);

// How fast many small files have come from one source, each way: an exponential mean.
class TransferSpeeds {
 public:
  void note(Transfer transfer, double files_per_second);
  // Nothing if it was never measured.
  std::optional<double> of(Transfer transfer) const;

 private:
  mutable std::mutex mutex_;
  std::array<std::optional<double>, 2> speeds_;  // guarded by mutex_
};

// What is known before the first byte is asked for.
struct TransferFacts {
  std::uint64_t pending_files = 0;  // that have something to come
  std::uint64_t pending_bytes = 0;
  std::uint64_t stream_bytes = 0;  // of data, that the stream would bring
  bool readers_wait = false;
  bool is_read = false;  // somebody has begun to read it
  // Files per second.
  std::optional<double> extents_speed = {};
  std::optional<double> stream_speed = {};
  std::string unavailable;  // why there is no stream; empty if there is
};

struct TransferDecision {
  Transfer transfer = Transfer::extents;
  std::string why;  // in words
};

// For fewer files, or larger ones on average, the stream is neither taken by itself nor measured.
inline constexpr std::uint64_t stream_files_min = 2'000;
inline constexpr std::uint64_t stream_file_bytes_max = 32 * 1024;

// Many small files: what speeds are measured with.
bool is_tree(const TransferFacts& facts);

TransferDecision choose_transfer(TransferMode mode, const TransferFacts& facts);

}  // namespace icbd::replicator
