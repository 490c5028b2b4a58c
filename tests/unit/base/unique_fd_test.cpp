#include "icbd/base/unique_fd.h"

#include <fcntl.h>
#include <gtest/gtest.h>

namespace icbd {
namespace {

int open_something() {
  return ::open("/dev/null", O_RDONLY | O_CLOEXEC);
}
bool is_open(int fd) {
  return ::fcntl(fd, F_GETFD) >= 0;
}

TEST(UniqueFd, OwnsNothingByDefault) {
  const unique_fd fd;
  EXPECT_EQ(fd.get(), -1);
  EXPECT_FALSE(fd);
}

TEST(UniqueFd, ClosesAtItsEnd) {
  const int number = open_something();
  {
    const unique_fd fd(number);
    EXPECT_TRUE(fd);
    EXPECT_TRUE(is_open(number));
  }
  EXPECT_FALSE(is_open(number));
}

TEST(UniqueFd, MovesOwnershipAndClosesWhatItHeld) {
  const int first = open_something(), second = open_something();
  unique_fd a(first), b(second);
  a = std::move(b);
  EXPECT_FALSE(is_open(first));
  EXPECT_TRUE(is_open(second));
  EXPECT_EQ(a.get(), second);
  EXPECT_FALSE(b);  // NOLINT(bugprone-use-after-move): that is what is tested
  const unique_fd c(std::move(a));
  EXPECT_EQ(c.get(), second);
}

TEST(UniqueFd, SurvivesAssignmentToItself) {
  unique_fd fd(open_something());
  unique_fd& same = fd;
  fd = std::move(same);
  EXPECT_TRUE(is_open(fd.get()));
}

TEST(UniqueFd, ReleasesWithoutClosing) {
  unique_fd fd(open_something());
  const unique_fd keeper(fd.release());
  EXPECT_FALSE(fd);
  EXPECT_TRUE(is_open(keeper.get()));
}

}  // namespace
}  // namespace icbd
