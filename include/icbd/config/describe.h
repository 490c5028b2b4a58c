// A configuration as people read it: every key with its value, its default and what it may be.
// Pure.
#pragma once

#include <string>
#include <vector>

#include "icbd/config/config.h"

namespace icbd::config {

struct DescribedKey {
  std::string table;     // "" for the top level
  std::string name;      // "timeout"
  std::string value;     // as it would stand in the file: 20, "on-read", true
  std::string standard;  // what it is if the file does not say; "" if the file has to
  std::string range;     // "0.1 to 3600 seconds"

  bool is_default() const { return value == standard; }
  // "[fetch] timeout"
  std::string label() const;
};

// In the order in which the example has them.
std::vector<DescribedKey> describe(const Master& master);
std::vector<DescribedKey> describe(const Cache& cache);

}  // namespace icbd::config
