#include "icbd/sendstream/dump.h"

#include <gtest/gtest.h>

#include "sample_commands.h"

namespace icbd::sendstream {
namespace {

TEST(Dump, OneLinePerCommand) {
  EXPECT_EQ(dump(UpdateExtent{"disk.raw", {131072, 4096}}),
            "update_extent ./disk.raw offset=131072 length=4096");
  EXPECT_EQ(dump(Rename{"o257-7-0", "a/b"}), "rename ./o257-7-0 to=./a/b");
  EXPECT_EQ(dump(ChangeMode{"", 04755}), "chmod ./ mode=04755");
  EXPECT_EQ(dump(SetTimes{"f", {1, 2}, {-3, 999'999'999}, {5, 6}}),
            "utimes ./f accessed=1.000000002 modified=-3.999999999 changed=5.000000006");
  EXPECT_EQ(dump(End{}), "end");
}

TEST(Dump, WhatIsNotPrintableIsEscaped) {
  EXPECT_EQ(dump(Unlink{"two words\\\n\xff"}), "unlink ./two\\x20words\\x5c\\x0a\\xff");
  EXPECT_EQ(dump(MakeSymlink{"s", InodeNumber(7), "a b"}), "symlink ./s inode=7 target=a\\x20b");
}

TEST(Dump, DataIsGivenByLength) {
  EXPECT_EQ(dump(Write{"f", 10, as_bytes("secret")}), "write ./f offset=10 length=6");
  EXPECT_EQ(dump(SetXattr{"f", "user.x", to_bytes("secret")}),
            "set_xattr ./f name=user.x length=6");
}

TEST(Dump, EveryCommandBeginsWithItsName) {
  for (const Command& command : sample_commands())
    EXPECT_TRUE(dump(command).starts_with(command_name(command))) << dump(command);
}

}  // namespace
}  // namespace icbd::sendstream
