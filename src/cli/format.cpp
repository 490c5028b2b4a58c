#include "format.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace icbd::cli {
namespace {

constexpr std::size_t column_gap = 2;
// What cutting leaves of a column, as long as there is another one to cut.
constexpr std::size_t last_column_min = 12;
constexpr std::size_t column_min = 8;

bool begins_character(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0) != 0x80;
}

// The columns that have something in them, and the gaps between them.
std::size_t width_of(const std::vector<std::size_t>& widths) {
  std::size_t total = 0;
  for (const std::size_t width : widths) total += width == 0 ? 0 : width + column_gap;
  return total == 0 ? 0 : total - column_gap;
}

void cut(std::vector<std::size_t>& widths, std::size_t column, std::size_t least,
         std::size_t width) {
  const std::size_t total = width_of(widths);
  if (total <= width || widths[column] <= least) return;
  widths[column] -= std::min(total - width, widths[column] - least);
}

void fit(std::vector<std::size_t>& widths, std::size_t width) {
  const std::size_t last = widths.size() - 1;
  cut(widths, last, last_column_min, width);
  while (width_of(widths) > width) {
    const auto widest = std::ranges::max_element(widths);
    if (*widest <= column_min) break;
    --*widest;
  }
  cut(widths, last, 1, width);
}

std::string_view colour_of(Style style) {
  switch (style) {
    case Style::good:
      return "\x1b[32m";
    case Style::busy:
      return "\x1b[33m";
    case Style::bad:
      return "\x1b[31m";
    case Style::faint:
      return "\x1b[2m";
    case Style::plain:
      break;
  }
  return {};
}

}  // namespace

std::string format_size(std::uint64_t bytes) {
  constexpr std::array units = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  auto value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  // 1023.95 would be shown as 1024.0.
  while (value >= 1023.95 && unit + 1 < units.size()) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{:.1f} {}", value, units[unit]);
}

std::string format_duration(std::chrono::seconds duration) {
  const auto seconds = std::max<std::int64_t>(duration.count(), 0);
  if (seconds < 3600) return fmt::format("{}:{:02}", seconds / 60, seconds % 60);
  return fmt::format("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
}

std::string format_percent(std::uint64_t done, std::uint64_t total) {
  if (total == 0 || done >= total) return "100 %";
  return fmt::format(
      "{} %", static_cast<unsigned>(static_cast<double>(done) * 100 / static_cast<double>(total)));
}

std::string format_count(std::uint64_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

std::string printable(std::string_view text) {
  std::string safe(text);
  std::ranges::replace_if(
      safe, [](char byte) { return static_cast<unsigned char>(byte) < ' ' || byte == '\x7f'; },
      '?');
  return safe;
}

std::size_t columns_of(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(text, begins_character));
}

std::string shorten(std::string_view text, std::size_t columns) {
  if (columns_of(text) <= columns) return std::string(text);
  if (columns == 0) return {};
  std::size_t end = 0;
  for (std::size_t seen = 0; end < text.size(); ++end)
    if (begins_character(text[end]) && ++seen == columns) break;
  return std::string(text.substr(0, end)) + "…";
}

std::string paint(std::string_view text, Style style, bool colours) {
  if (!colours || style == Style::plain || text.empty()) return std::string(text);
  return fmt::format("{}{}\x1b[0m", colour_of(style), text);
}

Table::Table(std::vector<std::string> header) {
  add(std::move(header));
}

void Table::add(std::vector<std::string> row) {
  std::vector<Cell> cells;
  cells.reserve(row.size());
  for (std::string& text : row) cells.push_back({.text = std::move(text)});
  rows_.push_back(std::move(cells));
}

std::vector<std::size_t> Table::natural_widths() const {
  std::vector<std::size_t> widths(rows_.front().size(), 0);
  for (std::size_t column = 0; column < widths.size(); ++column) {
    const bool filled = rows_.size() == 1 ||
                        std::ranges::any_of(rows_.begin() + 1, rows_.end(), [&](const auto& row) {
                          return !row[column].text.empty();
                        });
    if (!filled) continue;
    for (const auto& row : rows_)
      widths[column] = std::max(widths[column], columns_of(row[column].text));
  }
  return widths;
}

std::string Table::format(std::size_t width, bool colours) const {
  std::vector<std::size_t> widths = natural_widths();
  if (width != 0) fit(widths, width);
  std::string text;
  for (const auto& row : rows_) {
    std::string line;
    std::size_t gap = 0;  // spaces that are due before the next cell
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (widths[i] == 0) continue;
      const std::string shown = shorten(row[i].text, widths[i]);
      if (!shown.empty()) line += std::string(std::exchange(gap, 0), ' ');
      line += paint(shown, row[i].style, colours);
      gap += widths[i] - columns_of(shown) + column_gap;
    }
    text += line + "\n";
  }
  return text;
}

}  // namespace icbd::cli
