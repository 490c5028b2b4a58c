// How far something has come: a bar that moves on a terminal, a line now and then elsewhere.
//
// Lifecycle: update() as often as one likes, then finish(), or the destructor, which clears the
// bar's line so that the result stands in its place.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "icbd/cli/terminal.h"

namespace icbd::cli {

struct Progress {
  std::uint64_t done = 0;   // bytes
  std::uint64_t total = 0;  // 0: not known yet
  // What the server says of it; measured here where it says nothing.
  std::optional<std::uint64_t> bytes_per_second;
  std::optional<std::chrono::seconds> remaining;
};

// What a job's report says of its bytes.
Progress progress_of_job(const nlohmann::json& report);

class ProgressBar {
 public:
  ProgressBar(const Terminal& terminal, std::string label);
  ~ProgressBar() { finish(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void update(Progress progress);
  void finish();

 private:
  void measure(Progress& progress);
  std::string describe(const Progress& progress) const;
  void draw(const Progress& progress);

  const Terminal& terminal_;
  const std::string label_;
  std::optional<Clock::TimePoint> started_;  // when the first byte had come
  std::uint64_t done_at_start_ = 0;
  std::optional<Clock::TimePoint> line_written_;
  bool drawn_ = false;
};

}  // namespace icbd::cli
