#include "quote.h"

#include <fmt/format.h>

#include <iterator>

namespace icbd::sendstream {

std::string quote(std::string_view text) {
  std::string quoted;
  quoted.reserve(text.size());
  for (const char character : text) {
    if (character > ' ' && character <= '~' && character != '\\') {
      quoted += character;
    } else {
      fmt::format_to(std::back_inserter(quoted), "\\x{:02x}",
                     static_cast<unsigned char>(character));
    }
  }
  return quoted;
}

std::string quote_path(std::string_view path) {
  return "./" + quote(path);
}

}  // namespace icbd::sendstream
