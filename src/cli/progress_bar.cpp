#include "progress_bar.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "format.h"

namespace icbd::cli {
namespace {

// Without a terminal: often enough to see that it lives, rarely enough for a log.
constexpr std::chrono::seconds line_interval{5};
constexpr std::size_t bar_columns_min = 10;
constexpr std::size_t bar_columns_max = 40;
constexpr std::string_view to_line_start = "\r";

std::string draw_bar(const Progress& progress, std::size_t columns) {
  const double part =
      progress.total == 0
          ? 0
          : std::min(1.0, static_cast<double>(progress.done) / static_cast<double>(progress.total));
  const auto filled = static_cast<std::size_t>(part * static_cast<double>(columns));
  return fmt::format("[{}{}]", std::string(filled, '#'), std::string(columns - filled, ' '));
}

}  // namespace

Progress progress_of_job(const nlohmann::json& report) {
  return {.done = report.value("bytes_done", std::uint64_t{0}),
          .total = report.value("bytes_total", std::uint64_t{0}),
          .bytes_per_second = {},
          .remaining = {}};
}

ProgressBar::ProgressBar(const Terminal& terminal, std::string label)
    : terminal_(terminal), label_(std::move(label)) {}

void ProgressBar::update(Progress progress) {
  measure(progress);
  if (terminal_.interactive) return draw(progress);
  const auto now = terminal_.clock.now();
  if (line_written_ && now - *line_written_ < line_interval) return;
  line_written_ = now;
  terminal_.out << fmt::format("{}  {}\n", label_, describe(progress)) << std::flush;
}

void ProgressBar::finish() {
  if (drawn_) terminal_.out << to_line_start << clear_to_line_end << std::flush;
  drawn_ = false;
}

void ProgressBar::measure(Progress& progress) {
  const auto now = terminal_.clock.now();
  if (progress.done > 0 && !started_) {
    started_ = now;
    done_at_start_ = progress.done;
  }
  if (!progress.bytes_per_second && started_ && now > *started_) {
    const double seconds = std::chrono::duration<double>(now - *started_).count();
    progress.bytes_per_second = static_cast<std::uint64_t>(
        static_cast<double>(progress.done - std::min(progress.done, done_at_start_)) / seconds);
  }
  const std::uint64_t rate = progress.bytes_per_second.value_or(0);
  if (!progress.remaining && rate > 0 && progress.total > progress.done)
    progress.remaining = std::chrono::seconds((progress.total - progress.done) / rate);
}

std::string ProgressBar::describe(const Progress& progress) const {
  if (progress.total == 0 && progress.done == 0) return "preparing";
  std::string text =
      progress.total == 0
          ? format_size(progress.done)
          : fmt::format("{:>5}  {} of {}", format_percent(progress.done, progress.total),
                        format_size(progress.done), format_size(progress.total));
  if (progress.bytes_per_second)
    text += fmt::format("  {}/s", format_size(*progress.bytes_per_second));
  if (progress.remaining) text += fmt::format("  {} left", format_duration(*progress.remaining));
  return text;
}

void ProgressBar::draw(const Progress& progress) {
  const std::string text = describe(progress);
  const std::size_t used = columns_of(label_) + columns_of(text) + 6;  // gaps, brackets, cursor
  const std::size_t left = terminal_.width > used ? terminal_.width - used : 0;
  std::string line = label_ + "  ";
  // Something that comes from a pipe has no end that could be drawn.
  const bool endless = progress.total == 0 && progress.done > 0;
  if (left >= bar_columns_min && !endless)
    line += draw_bar(progress, std::min(left, bar_columns_max)) + " ";
  line += text;
  // The last column stays free: writing into it would wrap the line.
  const std::size_t width = std::max(terminal_.width, 1u) - 1;
  terminal_.out << to_line_start << shorten(line, width) << clear_to_line_end << std::flush;
  drawn_ = true;
}

}  // namespace icbd::cli
