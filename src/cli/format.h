// Numbers and tables as people read them. Pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace icbd::cli {

// "17 B", "1.5 KiB", "2.0 GiB"
std::string format_size(std::uint64_t bytes);
// "0:07", "12:34", "1:02:03"
std::string format_duration(std::chrono::seconds duration);
// "42 %"; 100 only if all is done.
std::string format_percent(std::uint64_t done, std::uint64_t total);
// "1 version", "2 versions"
std::string format_count(std::uint64_t count, std::string_view what);

// Text of others made safe to print: control characters become "?", so that a message cannot
// steer the terminal.
std::string printable(std::string_view text);
// At most `columns` characters, ending in "…" if something was cut off.
std::string shorten(std::string_view text, std::size_t columns);
// Characters of UTF-8 text.
std::size_t columns_of(std::string_view text);

// Has a terminal erase what it shows behind the cursor, up to the end of the line.
inline constexpr std::string_view clear_to_line_end = "\x1b[K";

// What a text means, which a terminal shows as a colour.
enum class Style { plain, good, busy, bad, faint };
std::string paint(std::string_view text, Style style, bool colours);

struct Cell {
  std::string text = {};
  Style style = Style::plain;
};

// Columns as wide as their widest cell, two spaces apart. A column without anything in it is left
// out. Where it does not fit, the last column is cut first, then the widest ones.
class Table {
 public:
  explicit Table(std::vector<std::string> header);
  // As many cells as the header has.
  void add(std::vector<std::string> row);
  void add_cells(std::vector<Cell> row) { rows_.push_back(std::move(row)); }
  bool empty() const { return rows_.size() == 1; }
  // `width` 0: as wide as it needs. Each line ends with a line feed.
  std::string format(std::size_t width, bool colours = false) const;

 private:
  std::vector<std::size_t> natural_widths() const;

  std::vector<std::vector<Cell>> rows_;  // the header is the first
};

}  // namespace icbd::cli
