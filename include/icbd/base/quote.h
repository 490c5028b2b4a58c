// Text from outside, as it may stand in a message: "…", printable whatever came in.
//
// File names and what a peer sent may hold any bytes. Messages go to terminals, logs and JSON, so
// all but printable ASCII is written as \xNN. (fmt's own {:?} is not for this: that of fmt 9 ends
// the program on some malformed UTF-8.)
#pragma once

#include <string>
#include <string_view>

namespace icbd {

inline std::string quote(std::string_view text) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string quoted = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (byte >= 0x20 && byte < 0x7f) {
      quoted += c;
    } else {
      quoted += "\\x";
      quoted += digits[byte >> 4];
      quoted += digits[byte & 15];
    }
  }
  return quoted += '"';
}

}  // namespace icbd
