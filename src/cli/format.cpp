#include "format.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace icbd::cli {
namespace {

constexpr std::size_t column_gap = 2;

bool begins_character(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0) != 0x80;
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

std::string Table::format(std::size_t width) const {
  std::vector<std::size_t> widths(rows_.front().size(), 0);
  for (const auto& row : rows_)
    for (std::size_t i = 0; i < row.size(); ++i)
      widths[i] = std::max(widths[i], columns_of(row[i]));
  std::string text;
  for (const auto& row : rows_) {
    std::size_t used = 0;
    for (std::size_t i = 0; i + 1 < row.size(); ++i) {
      const std::size_t padding = widths[i] - columns_of(row[i]) + column_gap;
      text += row[i] + std::string(padding, ' ');
      used += widths[i] + column_gap;
    }
    const std::size_t left = width > used ? width - used : 1;
    text += (width == 0 ? row.back() : shorten(row.back(), left)) + "\n";
  }
  return text;
}

}  // namespace icbd::cli
