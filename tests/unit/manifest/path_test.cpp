#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "icbd/manifest/manifest.h"

namespace icbd::manifest {
namespace {

TEST(PathOrder, PutsWhatIsInADirectoryRightBehindIt) {
  const std::vector<std::string> in_order = {"",    "a",   "a/b",   "a/b/c", "a/b-", "a!",
                                             "a-b", "a.b", "a.b/c", "aa",    "b",    "\xff"};
  for (std::size_t i = 0; i < in_order.size(); ++i)
    for (std::size_t j = 0; j < in_order.size(); ++j)
      EXPECT_EQ(path_less(in_order[i], in_order[j]), i < j) << in_order[i] << " " << in_order[j];
}

std::vector<std::string> components(const std::string& path) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin < path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    parts.push_back(path.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

TEST(PathOrder, ComparesComponentByComponent) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const auto random_path = [&random] {
    static constexpr std::string_view letters = "!-.0ab";
    std::string path;
    for (unsigned depth = 0; depth <= random() % 3; ++depth) {
      if (depth > 0) path += '/';
      for (unsigned length = 0; length <= random() % 3; ++length)
        path += letters[random() % letters.size()];
    }
    return path;
  };
  for (int i = 0; i < 20'000; ++i) {
    const std::string a = random_path(), b = random_path();
    ASSERT_EQ(path_less(a, b), components(a) < components(b)) << a << " " << b;
  }
}

}  // namespace
}  // namespace icbd::manifest
