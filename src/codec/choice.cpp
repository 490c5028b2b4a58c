#include "icbd/codec/choice.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <limits>

namespace icbd::codec {
namespace {

// A change must be worth this much, and is not made twice within so many blocks.
constexpr double worth_changing = 1.15;
constexpr std::uint64_t blocks_between_changes = 8;
// Goodputs this near to each other are the same; the cheaper one is taken.
constexpr double same_goodput = 0.95;
// One block in so many is packed with a second setting too.
constexpr std::uint64_t blocks_between_samples = 64;
// What a new measurement counts beside what was known.
constexpr double weight_of_block = 1.0 / 8;
constexpr double weight_of_sample = 1.0 / 4;
// A block that packs to more than this says nothing about how settings compare.
constexpr double telling_saving = 0.05;
// Savings are never taken for more than this: a stretch of zeros is no reason to believe in it.
constexpr double most_saving = 0.95;
constexpr double least_scale = 0.01;
constexpr double most_scale = 4;
// Blocks in a row that do not pack, and for how many the next attempt then waits.
constexpr std::uint32_t failures_max = 8;
constexpr std::uint32_t pause_first = 16;
constexpr std::uint32_t pause_last = 256;

constexpr double least_cores = 0.01;

constexpr double mebibyte = 1 << 20;
constexpr double gibibyte = 1 << 30;

void move_towards(double& value, double target, double weight) {
  value += weight * (target - value);
}

double saving_of(const Packed& block) {
  if (block.plain == 0) return 0;
  return std::max(0.0, 1 - static_cast<double>(block.packed) / static_cast<double>(block.plain));
}

std::string megabytes(double bytes_per_second) {
  const double number = bytes_per_second / 1e6;
  return number < 100 ? fmt::format("{:.1f} MB/s", number) : fmt::format("{:.0f} MB/s", number);
}

}  // namespace

std::vector<Candidate> default_candidates() {
  // Packing: ratio and processor seconds per GiB on the files of an operating system; unpacking:
  // about what lz4 and zstd publish for it, less a third for smaller caches.
  const auto zstd = [](int level, double seconds_per_gib, double ratio) {
    return Candidate{
        .setting = {.algorithm = Algorithm::zstd, .level = level},
        .guess = {
            .packing = gibibyte / seconds_per_gib, .unpacking = 1000 * mebibyte, .ratio = ratio}};
  };
  constexpr double unlimited = std::numeric_limits<double>::infinity();
  return {{.setting = {}, .guess = {.packing = unlimited, .unpacking = unlimited, .ratio = 1}},
          {.setting = {.algorithm = Algorithm::lz4},
           .guess = {.packing = gibibyte / 1.8, .unpacking = 2500 * mebibyte, .ratio = 0.603}},
          zstd(-1, 1.9, 0.545),
          zstd(1, 2.2, 0.515),
          zstd(3, 3.3, 0.491),
          zstd(6, 9.0, 0.475)};
}

Choice::Choice(const std::vector<Candidate>& candidates) {
  for (const auto& [setting, guess] : candidates) {
    if (setting == Setting{}) plain_ = options_.size();
    options_.push_back({.setting = setting,
                        .packing = guess.packing,
                        .unpacking = guess.unpacking,
                        .saving = 1 - guess.ratio});
  }
  assert(options_.at(plain_).setting == Setting{});
  chosen_ = resume_ = sampled_ = plain_;
}

void Choice::set_cores(double packing, double unpacking) {
  cores_packing_ = std::max(packing, least_cores);
  cores_unpacking_ = std::max(unpacking, least_cores);
}

Choice::Option* Choice::find(Setting setting) {
  const auto found = std::ranges::find(options_, setting, &Option::setting);
  return found == options_.end() ? nullptr : &*found;
}

double Choice::ratio(const Option& option) const {
  return 1 - std::clamp(option.saving * scale_, 0.0, most_saving);
}

Speeds Choice::expected(Setting setting) const {
  const auto found = std::ranges::find(options_, setting, &Option::setting);
  if (found == options_.end()) return {.packing = 0, .unpacking = 0, .ratio = 0};
  return {.packing = found->packing, .unpacking = found->unpacking, .ratio = ratio(*found)};
}

double Choice::goodput(const Option& option) const {
  const double link = link_.value_or(std::numeric_limits<double>::infinity());
  return std::min(
      {link / ratio(option), cores_packing_ * option.packing, cores_unpacking_ * option.unpacking});
}

std::size_t Choice::best() const {
  double highest = 0;
  for (const Option& option : options_) highest = std::max(highest, goodput(option));
  std::size_t found = plain_;
  for (std::size_t i = 0; i < options_.size(); ++i) {
    const bool as_good = goodput(options_[i]) >= same_goodput * highest;
    const bool found_is = goodput(options_[found]) >= same_goodput * highest;
    if (as_good && (!found_is || options_[i].packing > options_[found].packing)) found = i;
  }
  return found;
}

Choice::Plan Choice::plan() {
  ++blocks_;
  if (next_pause_ != 0) return plan_pause();
  const std::size_t candidate = best();
  const bool worth = candidate != chosen_ &&
                     goodput(options_[candidate]) > worth_changing * goodput(options_[chosen_]);
  if (worth && (changed_at_ == 0 || blocks_ - changed_at_ >= blocks_between_changes)) {
    chosen_ = candidate;
    changed_at_ = blocks_;
    failures_ = 0;
  }
  return {.setting = options_[chosen_].setting, .sample = next_sample()};
}

// In a stretch that does not pack: plain, and now and then an attempt.
Choice::Plan Choice::plan_pause() {
  if (pause_ > 0) {
    --pause_;
    return {.setting = {}, .sample = {}};
  }
  pause_ = next_pause_;  // also for who plans more before the attempt is reported
  return {.setting = {}, .sample = options_[resume_].setting};
}

// Each candidate in its turn, but `none`, of which all is known, those too slow to be of use on
// this link, and the one that is in use.
std::optional<Setting> Choice::next_sample() {
  if (blocks_ % blocks_between_samples != 0 || !link_) return std::nullopt;
  const double reached = goodput(options_[chosen_]);
  for (std::size_t tried = 0; tried < options_.size(); ++tried) {
    sampled_ = (sampled_ + 1) % options_.size();
    const Option& option = options_[sampled_];
    // Speeds differ from block to block, but not by a factor of two for long.
    const bool hopeless = 2 * cores_packing_ * option.packing < reached;
    if (sampled_ != plain_ && sampled_ != chosen_ && !hopeless) return option.setting;
  }
  return std::nullopt;
}

void Choice::learn_time(Option& option, const Packed& block) {
  const double seconds = std::chrono::duration<double>(block.time).count();
  if (seconds > 0 && block.plain > 0)
    move_towards(option.packing, static_cast<double>(block.plain) / seconds, weight_of_block);
}

void Choice::learn_scale(const Option& option, const Packed& block, double weight) {
  if (option.saving <= 0) return;
  move_towards(scale_, saving_of(block) / option.saving, weight);
  scale_ = std::clamp(scale_, least_scale, most_scale);
}

void Choice::packed(const Plan& plan, const Packed& block, const Packed& sample) {
  Option* option = find(plan.setting);
  if (option != nullptr && plan.setting != Setting{}) {
    learn_time(*option, block);
    learn_scale(*option, block, weight_of_block);
    if (option == &options_[chosen_]) count_failures(block);
  }
  Option* second = plan.sample ? find(*plan.sample) : nullptr;
  if (second == nullptr || sample.plain == 0) return;
  learn_time(*second, sample);
  if (next_pause_ != 0) {
    end_attempt(*second, sample);
  } else if (plan.setting == Setting{}) {
    learn_scale(*second, sample, weight_of_sample);
  } else {
    learn_sample(*second, sample, block);
  }
}

// The same block with two settings: how they compare.
void Choice::learn_sample(Option& option, const Packed& sample, const Packed& block) {
  const double saving = saving_of(sample);
  const double beside = saving_of(block);
  if (saving < telling_saving || beside < telling_saving) return;
  move_towards(option.saving, options_[chosen_].saving * saving / beside, weight_of_sample);
}

void Choice::count_failures(const Packed& block) {
  failures_ = block.packed < block.plain ? 0 : failures_ + 1;
  if (failures_ < failures_max) return;
  failures_ = 0;
  resume_ = chosen_;
  chosen_ = plain_;
  changed_at_ = blocks_;
  next_pause_ = pause_first;
  pause_ = next_pause_;
}

// In a stretch that did not pack, a block was packed to see whether it is over.
void Choice::end_attempt(const Option& option, const Packed& sample) {
  const bool packs = sample.packed < sample.plain;
  next_pause_ = packs ? 0 : std::min(2 * next_pause_, pause_last);
  pause_ = next_pause_;
  if (!packs || option.saving <= 0) return;
  // What the stretch has taught is of no use for what follows it.
  scale_ = std::clamp(saving_of(sample) / option.saving, least_scale, most_scale);
}

void Choice::unpacked(Setting setting, std::uint64_t plain, Clock::Duration time) {
  Option* option = find(setting);
  const double seconds = std::chrono::duration<double>(time).count();
  if (option == nullptr || setting == Setting{} || plain == 0 || seconds <= 0) return;
  move_towards(option->unpacking, static_cast<double>(plain) / seconds, weight_of_block);
}

std::string Choice::why() const {
  const std::string name = to_string(chosen());
  if (next_pause_ != 0) return fmt::format("{}: the data do not pack", name);
  if (!link_) return fmt::format("{}: the link has not been the limit yet", name);
  const std::string link = "link " + megabytes(*link_);
  const Option& option = options_[chosen_];
  if (chosen_ == plain_) {
    const auto fastest = std::ranges::max_element(
        options_, {}, [&](const Option& o) { return &o == &option ? 0 : goodput(o); });
    return fmt::format("{}: {}; {} would reach {}", name, link, to_string(fastest->setting),
                       megabytes(goodput(*fastest)));
  }
  std::string packs = fmt::format("{}: {}, packs to {:.2f}", name, link, ratio(option));
  const double there = cores_unpacking_ * option.unpacking;
  if (there < *link_ / ratio(option) && there < cores_packing_ * option.packing)
    return fmt::format("{}; unpacking is the limit, at {}", packs, megabytes(there));
  if (cores_packing_ * option.packing < *link_ / ratio(option))
    return fmt::format("{}; packing is the limit, at {}", packs,
                       megabytes(cores_packing_ * option.packing));
  return packs;
}

}  // namespace icbd::codec
