// Which icbd this is.
#pragma once

#include <string_view>

namespace icbd {

// "0.1.0", as the project's CMakeLists.txt says.
std::string_view version();

}  // namespace icbd
