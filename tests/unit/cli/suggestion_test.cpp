#include "suggestion.h"

#include <gtest/gtest.h>

#include <vector>

namespace icbd::cli {
namespace {

const std::vector<std::string> known = {"publish", "list", "status", "wait", "--json"};

TEST(Suggestion, FindsWhatWasMeant) {
  EXPECT_EQ(suggest("pubish", known), "publish");
  EXPECT_EQ(suggest("publihs", known), "publish");
  EXPECT_EQ(suggest("stats", known), "status");
  EXPECT_EQ(suggest("lits", known), "list");
  EXPECT_EQ(suggest("--jsn", known), "--json");
}

TEST(Suggestion, SaysNothingWithoutAGoodGuess) {
  EXPECT_EQ(suggest("remove", known), "");
  EXPECT_EQ(suggest("", known), "");
  EXPECT_EQ(suggest("ls", known), "");
  EXPECT_EQ(suggest(std::string(100'000, 'x'), known), "");
}

}  // namespace
}  // namespace icbd::cli
