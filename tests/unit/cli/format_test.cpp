#include "format.h"

#include <gtest/gtest.h>

namespace icbd::cli {
namespace {

using namespace std::chrono_literals;

TEST(Format, Sizes) {
  EXPECT_EQ(format_size(0), "0 B");
  EXPECT_EQ(format_size(1023), "1023 B");
  EXPECT_EQ(format_size(1024), "1.0 KiB");
  EXPECT_EQ(format_size(1536), "1.5 KiB");
  EXPECT_EQ(format_size(1024 * 1024 - 1), "1.0 MiB");
  EXPECT_EQ(format_size(std::uint64_t{5} << 30), "5.0 GiB");
  EXPECT_EQ(format_size(~std::uint64_t{0}), "16.0 EiB");
}

TEST(Format, Durations) {
  EXPECT_EQ(format_duration(7s), "0:07");
  EXPECT_EQ(format_duration(754s), "12:34");
  EXPECT_EQ(format_duration(3723s), "1:02:03");
  EXPECT_EQ(format_duration(-1s), "0:00");
}

TEST(Format, PercentIsHundredOnlyAtTheEnd) {
  EXPECT_EQ(format_percent(0, 10), "0 %");
  EXPECT_EQ(format_percent(9'999, 10'000), "99 %");
  EXPECT_EQ(format_percent(10, 10), "100 %");
  EXPECT_EQ(format_percent(0, 0), "100 %");
}

TEST(Format, ControlCharactersDoNotReachTheTerminal) {
  EXPECT_EQ(printable("a\x1b[31mb\nc\x7f"), "a?[31mb?c?");
  EXPECT_EQ(printable("größer"), "größer");
}

TEST(Format, ShortenCutsBetweenCharacters) {
  EXPECT_EQ(shorten("short", 5), "short");
  EXPECT_EQ(shorten("größer", 4), "grö…");
  EXPECT_EQ(shorten("größer", 1), "…");
  EXPECT_EQ(shorten("größer", 0), "");
}

TEST(Format, TableIsAsWideAsItNeeds) {
  Table table({"A", "NUMBER", "TEXT"});
  table.add({"long cell", "1", "größer als breit"});
  EXPECT_EQ(table.format(0),
            "A          NUMBER  TEXT\n"
            "long cell  1       größer als breit\n");
}

TEST(Format, TableFitsByCuttingItsLastColumn) {
  Table table({"A", "TEXT"});
  table.add({"x", "a message that is long"});
  EXPECT_EQ(table.format(12),
            "A  TEXT\n"
            "x  a messag…\n");
}

}  // namespace
}  // namespace icbd::cli
