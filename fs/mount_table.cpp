#include "icbd/fs/mount_table.h"

#include <algorithm>
#include <fstream>
#include <iterator>

namespace icbd::fs {
namespace {

std::string_view next_word(std::string_view& line) {
  const auto end = std::min(line.find(' '), line.size());
  const std::string_view word = line.substr(0, end);
  line.remove_prefix(std::min(end + 1, line.size()));
  return word;
}

bool is_octal(std::string_view digits) {
  return std::ranges::all_of(digits, [](char c) { return c >= '0' && c <= '7'; });
}

// Spaces, tabs, line breaks and backslashes stand there as \040 and the like.
std::string unescape(std::string_view word) {
  std::string text;
  while (!word.empty()) {
    if (word.size() >= 4 && word[0] == '\\' && is_octal(word.substr(1, 3))) {
      text += static_cast<char>((word[1] - '0') * 64 + (word[2] - '0') * 8 + (word[3] - '0'));
      word.remove_prefix(4);
    } else {
      text += word[0];
      word.remove_prefix(1);
    }
  }
  return text;
}

}  // namespace

// "36 35 98:0 /root /mountpoint options optional… - type source options"
std::string type_of_mount(std::string_view table, const std::filesystem::path& path) {
  std::string type;
  while (!table.empty()) {
    const auto end = std::min(table.find('\n'), table.size());
    std::string_view line = table.substr(0, end);
    table.remove_prefix(std::min(end + 1, table.size()));
    for (int field = 0; field < 4; ++field) next_word(line);
    if (unescape(next_word(line)) != path.string()) continue;
    const auto separator = line.find(" - ");
    if (separator == std::string_view::npos) continue;
    line.remove_prefix(separator + 3);
    type = next_word(line);
  }
  return type;
}

Result<std::string> type_of_mount(const std::filesystem::path& path) {
  // A file of /proc has no size to go by.
  std::ifstream file("/proc/self/mountinfo");
  const std::string table(std::istreambuf_iterator<char>(file), {});
  if (!file || table.empty()) return fail(ErrorCode::io, "read /proc/self/mountinfo");
  return type_of_mount(table, path);
}

}  // namespace icbd::fs
