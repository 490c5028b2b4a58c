// Which setting to pack the next block with.
//
// Purpose: `auto`. The expected goodput of a setting, in bytes of plain per second, is
//
//   min(link / ratio, cores that pack x packing speed, cores that unpack x unpacking speed)
//
// and the highest one is chosen; of those within a twentieth of it, the one that costs least time.
// Link, speeds and ratios are measured all the while; speeds and ratios begin as guesses. How well
// the data pack is one number for all settings, which follows the blocks as they come; how a
// setting does beside the others is learnt from samples: now and then a block is packed with a
// second setting too.
// Guarantees: pure; counts blocks and looks at no clock. Goes over to another setting only for a
// gain of 15 %, and at most every eighth block. After eight blocks in a row that do not pack it
// sends plain, and looks again after 16 blocks, then 32, …, 256.
// Not thread-safe: the sender guards it. Several blocks may be planned before the first is
// reported.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "icbd/base/clock.h"
#include "icbd/codec/codec.h"

namespace icbd::codec {

// Bytes of plain per second of one core's time, and packed / plain.
struct Speeds {
  double packing = 0;
  double unpacking = 0;
  double ratio = 1;
};

struct Candidate {
  Setting setting;
  Speeds guess;
};

// none, lz4, zstd:-1, zstd:1, zstd:3, zstd:6, as they were measured on a disk image: what is
// expected of them before anything is known.
std::vector<Candidate> default_candidates();

// What became of a block, or of a sample.
struct Packed {
  std::uint64_t plain = 0;
  std::uint64_t packed = 0;  // the same as `plain` if it did not pack
  Clock::Duration time{};    // of the processor (CLOCK_THREAD_CPUTIME_ID): others may use it too
};

class Choice {
 public:
  struct Plan {
    Setting setting;                // what to send the block with
    std::optional<Setting> sample;  // pack the same block with this too, only to measure it
  };

  // One of the candidates is `none`. Until a link was measured, it is chosen.
  explicit Choice(const std::vector<Candidate>& candidates = default_candidates());

  // Bytes per second of what crosses the wire; none: not known, or more than was ever asked of it
  // (see LinkMeter). Judged with the next plan.
  void set_link(std::optional<double> bytes_per_second) { link_ = bytes_per_second; }
  // Cores that packing and unpacking can have, here and at the other end; 1 and 1 until said.
  void set_cores(double packing, double unpacking);

  Plan plan();
  // What became of the block that was packed by this plan, and of its sample if it had one.
  void packed(const Plan& plan, const Packed& block, const Packed& sample = {});
  // What the other end says about unpacking, if it does.
  void unpacked(Setting setting, std::uint64_t plain, Clock::Duration time);

  Setting chosen() const { return options_[chosen_].setting; }
  // What is expected of a setting now; all zeros if it is no candidate.
  Speeds expected(Setting setting) const;
  // "zstd:3: link 12.5 MB/s, packs to 0.49", for status.
  std::string why() const;

 private:
  struct Option {
    Setting setting;
    double packing = 0;
    double unpacking = 0;
    double saving = 0;  // of data that pack as the guesses say: 1 - ratio
  };

  Option* find(Setting setting);
  double ratio(const Option& option) const;
  double goodput(const Option& option) const;
  std::size_t best() const;
  std::optional<Setting> next_sample();
  void learn_time(Option& option, const Packed& block);
  void learn_scale(const Option& option, const Packed& block, double weight);
  void learn_sample(Option& option, const Packed& sample, const Packed& block);
  void count_failures(const Packed& block);
  void end_attempt(const Option& option, const Packed& sample);
  Plan plan_pause();

  std::vector<Option> options_;
  std::optional<double> link_;
  double cores_packing_ = 1;
  double cores_unpacking_ = 1;
  double scale_ = 1;       // how well the data pack: savings / the options' savings
  std::size_t plain_ = 0;  // the candidate `none`
  std::size_t chosen_ = 0;
  std::size_t sampled_ = 0;  // the candidate that was the last sample
  std::uint64_t blocks_ = 0;
  std::uint64_t changed_at_ = 0;  // the block of the last change
  // A stretch that does not pack.
  std::uint32_t failures_ = 0;    // blocks in a row
  std::uint32_t pause_ = 0;       // blocks to go before the next attempt
  std::uint32_t next_pause_ = 0;  // 0: not in such a stretch
  std::size_t resume_ = 0;        // the candidate that tries again
};

}  // namespace icbd::codec
