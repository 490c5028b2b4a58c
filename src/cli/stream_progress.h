// How far a stream has come: a bar on the terminal of errors, because standard output is for the
// result, or the stream itself.
//
// Lifecycle: add() what has come, finish() when it is all there; the destructor clears the bar too.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "icbd/cli/terminal.h"

#include "progress_bar.h"

namespace icbd::cli {

class StreamProgress {
 public:
  // `size`: of all that will be added; 0 if nobody knows. Nothing is shown if `shown` is false, or
  // errors do not go to a terminal.
  StreamProgress(const Terminal& terminal, bool shown, std::uint64_t size);

  // What stands before the bar from now on.
  void set_label(std::string label);
  void add(std::size_t bytes);
  // A line among the errors, which does not run into the bar.
  void say(const std::string& line);
  void finish();

  bool is_shown() const { return terminal_.interactive; }
  std::uint64_t bytes() const { return done_; }
  // Since it was made.
  std::chrono::milliseconds elapsed() const;

 private:
  const Terminal terminal_;  // whose output is the errors
  const std::uint64_t size_;
  const Clock::TimePoint started_;
  std::uint64_t done_ = 0;
  std::string label_;
  std::optional<ProgressBar> bar_;
  std::optional<Clock::TimePoint> drawn_;
};

}  // namespace icbd::cli
