// Randomized tests run a sample in every tier and all of it in the long one.
#pragma once

#include <cstdlib>
#include <string_view>

namespace icbd::system_test {

// Set by `tests/run --long`.
inline bool is_long_run() {
  const char* value = std::getenv("ICBD_LONG");
  return value != nullptr && std::string_view(value) == "1";
}

}  // namespace icbd::system_test
