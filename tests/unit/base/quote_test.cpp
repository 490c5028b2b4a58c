#include "icbd/base/quote.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace icbd {
namespace {

TEST(Quote, KeepsPrintableText) {
  EXPECT_EQ(quote("etc/passwd ~"), "\"etc/passwd ~\"");
  EXPECT_EQ(quote(""), "\"\"");
  EXPECT_EQ(quote("a\"b\\c"), R"("a\"b\\c")");
}

TEST(Quote, WritesAllElseByItsBytes) {
  EXPECT_EQ(quote("\n\x1b\x7f"), R"("\x0a\x1b\x7f")");
  EXPECT_EQ(quote("gr\xc3\xbcn \xff"), R"("gr\xc3\xbcn \xff")");
  EXPECT_EQ(quote(std::string_view("\0", 1)), R"("\x00")");
}

TEST(Quote, TellsDifferentTextsApart) {
  EXPECT_NE(quote("\n"), quote("\\x0a"));
  EXPECT_NE(quote("\""), quote("\\\""));
}

TEST(Quote, IsPrintableWhateverCameIn) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  const std::string quoted = quote(all);
  EXPECT_TRUE(std::ranges::all_of(quoted, [](char c) { return c >= 0x20 && c < 0x7f; }));
}

}  // namespace
}  // namespace icbd
