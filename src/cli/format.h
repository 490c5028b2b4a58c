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

// Text of others made safe to print: control characters become "?", so that a message cannot
// steer the terminal.
std::string printable(std::string_view text);
// At most `columns` characters, ending in "…" if something was cut off.
std::string shorten(std::string_view text, std::size_t columns);
// Characters of UTF-8 text.
std::size_t columns_of(std::string_view text);

// Columns as wide as their widest cell, two spaces apart; the last one takes what is left.
class Table {
 public:
  explicit Table(std::vector<std::string> header) { rows_.push_back(std::move(header)); }
  // As many cells as the header has.
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  // `width` 0: as wide as it needs. Each line ends with a line feed.
  std::string format(std::size_t width) const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace icbd::cli
