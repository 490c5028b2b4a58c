#include "stream_progress.h"

#include <algorithm>

namespace icbd::cli {
namespace {

constexpr std::chrono::milliseconds draw_interval{200};

}  // namespace

StreamProgress::StreamProgress(const Terminal& terminal, bool shown, std::uint64_t size)
    : terminal_{.out = terminal.errors,
                .errors = terminal.errors,
                .interactive = shown && terminal.errors_interactive,
                .errors_interactive = terminal.errors_interactive,
                .width = terminal.width,
                .clock = terminal.clock,
                .pause = terminal.pause},
      size_(size),
      started_(terminal.clock.now()) {}

void StreamProgress::set_label(std::string label) {
  finish();
  label_ = std::move(label);
}

void StreamProgress::add(std::size_t bytes) {
  done_ += bytes;
  if (!is_shown() || label_.empty()) return;
  if (!bar_) bar_.emplace(terminal_, label_);
  const auto now = terminal_.clock.now();
  if (drawn_ && now - *drawn_ < draw_interval) return;
  drawn_ = now;
  // A size that was guessed may prove too small.
  const std::uint64_t total = size_ == 0 ? 0 : std::max(size_, done_);
  bar_->update({.done = done_, .total = total, .bytes_per_second = {}, .remaining = {}});
}

void StreamProgress::say(const std::string& line) {
  if (bar_) bar_->finish();
  drawn_.reset();
  terminal_.errors << line << '\n' << std::flush;
}

void StreamProgress::finish() {
  bar_.reset();
  drawn_.reset();
}

std::chrono::milliseconds StreamProgress::elapsed() const {
  return std::chrono::duration_cast<std::chrono::milliseconds>(terminal_.clock.now() - started_);
}

}  // namespace icbd::cli
