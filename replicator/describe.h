// How versions are called in logs and errors, and which errors pass by themselves.
#pragma once

#include <fmt/format.h>

#include <string>

#include "icbd/base/error.h"
#include "icbd/catalog/catalog.h"

namespace icbd::replicator {

inline std::string name_of(const catalog::Version& version) {
  return fmt::format("{}@{}", version.facts.image, version.facts.number.value());
}

// The source cannot be reached now; asking again may help.
inline bool is_temporary(const Error& error) {
  return error.code() == ErrorCode::unavailable || error.code() == ErrorCode::timed_out;
}

}  // namespace icbd::replicator
