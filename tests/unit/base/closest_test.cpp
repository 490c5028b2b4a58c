#include "icbd/base/closest.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

namespace icbd {
namespace {

constexpr std::array<std::string_view, 4> words = {"mountpoint", "path", "listen", "level"};

TEST(Closest, FindsWhatWasProbablyMeant) {
  EXPECT_EQ(closest("mountpiont", words), "mountpoint");  // two letters swapped
  EXPECT_EQ(closest("mount_point", words), "mountpoint");
  EXPECT_EQ(closest("mountpont", words), "mountpoint");
  EXPECT_EQ(closest("paths", words), "path");
  EXPECT_EQ(closest("Path", words), "path");
  EXPECT_EQ(closest("lisetn", words), "listen");
}

TEST(Closest, FindsNothingWhereNothingIsClose) {
  EXPECT_EQ(closest("colour", words), "");
  EXPECT_EQ(closest("", words), "");
  EXPECT_EQ(closest("x", words), "");
  EXPECT_EQ(closest("pony", words), "");
  EXPECT_EQ(closest(std::string(100'000, 'x'), words), "");
  EXPECT_EQ(closest("path", {}), "");
}

TEST(Closest, PrefersTheFewestChanges) {
  constexpr std::array<std::string_view, 2> near = {"levels", "level"};
  EXPECT_EQ(closest("levl", near), "level");
}

}  // namespace
}  // namespace icbd
