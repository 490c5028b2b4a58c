// Paths and names from a stream, made fit for a line of text.
#pragma once

#include <string>
#include <string_view>

namespace icbd::sendstream {

// Bytes that are not printable, spaces and backslashes become \xNN, so that a line can be taken
// apart again.
std::string quote(std::string_view text);
// The same behind "./", so that the root is visible.
std::string quote_path(std::string_view path);

}  // namespace icbd::sendstream
