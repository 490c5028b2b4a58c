#include "confined_tree.h"

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include "icbd/base/file.h"
#include "icbd/base/limits.h"

#include "applier_fixture.h"

namespace icbd::applier {
namespace {

class ConfinedTreeTest : public ApplierTest {
 protected:
  void SetUp() override {
    ApplierTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    shell(R"(
      mkdir -p outside tree/directory/below
      echo secret >outside/file
      echo content >tree/directory/file
      ln -s ../outside tree/out
      ln -s directory tree/inside
      ln -s "$PWD/outside/file" tree/link
      mkfifo tree/fifo
      mknod tree/device b 7 250)");
    root = open_root("tree");
    tree.emplace(root.get());
  }

  unique_fd root;
  std::optional<ConfinedTree> tree;
};

TEST(ConfinedTreePaths, AreJudgedByTheirText) {
  for (const std::string good : {"", "a", "a/b", "...", "a b", ".hidden", "a/..b"})
    EXPECT_TRUE(ConfinedTree::check_path(good)) << good;
  for (const std::string bad :
       {"/", "/a", "a/", "a//b", ".", "./a", "a/.", "..", "../a", "a/../b", "a/.."})
    EXPECT_EQ(ConfinedTree::check_path(bad).error().code(), ErrorCode::corrupt) << bad;
  EXPECT_FALSE(ConfinedTree::check_path(std::string_view("a\0b", 3)));
  EXPECT_FALSE(ConfinedTree::check_path(std::string(limits::name_length + 1, 'n')));
  std::string deep = "d";
  while (deep.size() < limits::path_length) deep += "/d";
  EXPECT_FALSE(ConfinedTree::check_path(deep));
}

TEST_F(ConfinedTreeTest, FindsFilesAndTheRoot) {
  EXPECT_TRUE(tree->object("").value()->is_directory());
  EXPECT_TRUE(tree->object("directory/below").value()->is_directory());
  EXPECT_TRUE(tree->object("directory/file").value()->is_file());
  EXPECT_TRUE(S_ISLNK(tree->object("link").value()->type));
  EXPECT_EQ(tree->object("nothing").error().code(), ErrorCode::not_found);
  EXPECT_FALSE(tree->place(""));
}

TEST_F(ConfinedTreeTest, FollowsNoSymlinkAnywhere) {
  for (const char* path : {"out/file", "inside/file"}) {
    EXPECT_THAT(tree->object(path).error().message(), testing::HasSubstr("symbolic link")) << path;
    EXPECT_FALSE(tree->place(path)) << path;
  }
  EXPECT_FALSE(tree->writable("link"));
}

TEST_F(ConfinedTreeTest, CrossesNoMount) {
  shell("mount --bind outside tree/directory/below");
  const auto found = tree->object("directory/below/file");
  shell("umount tree/directory/below");
  EXPECT_EQ(found.error().code(), ErrorCode::corrupt);
}

// Opening one of these could block or reach hardware.
TEST_F(ConfinedTreeTest, OpensOnlyRegularFilesForData) {
  for (const char* path : {"fifo", "device", "directory", ""}) {
    EXPECT_EQ(tree->writable(path).error().code(), ErrorCode::corrupt) << path;
    EXPECT_EQ(tree->readable(path).error().code(), ErrorCode::corrupt) << path;
  }
}

TEST_F(ConfinedTreeTest, WhatWasForgottenIsLookedUpAgain) {
  ASSERT_TRUE(tree->writable("directory/file"));
  ASSERT_TRUE(tree->place("directory/below/x"));
  tree->forget("directory");
  shell("cd tree; mv directory moved; mkdir directory; echo another >directory/file");
  EXPECT_FALSE(tree->place("directory/below/x"));
  const int fd = tree->readable("directory/file").value();
  std::array<char, 16> text{};
  EXPECT_EQ(::pread(fd, text.data(), text.size(), 0), 8);
  EXPECT_STREQ(text.data(), "another\n");
}

TEST_F(ConfinedTreeTest, AFileThatWasMadeStaysOpenUnderItsNewName) {
  ASSERT_TRUE(tree->make_file("new", 0600));
  const int fd = tree->writable("new").value();
  EXPECT_EQ(tree->make_file("new", 0600).error().code(), ErrorCode::already_exists);
  shell("mv tree/new tree/directory/renamed");
  tree->renamed("new", "directory/renamed");
  EXPECT_EQ(tree->writable("directory/renamed").value(), fd);
  EXPECT_EQ(tree->writable("new").error().code(), ErrorCode::not_found);
  // Not what lies below a directory that has another name now.
  shell("cd tree; mv directory moved; mkdir directory; echo another >directory/renamed");
  tree->renamed("directory", "moved");
  std::array<char, 16> text{};
  EXPECT_EQ(::pread(tree->readable("directory/renamed").value(), text.data(), text.size(), 0), 8);
}

TEST_F(ConfinedTreeTest, MakesFilesOnlyWhereNothingIsAndNotThroughLinks) {
  EXPECT_EQ(tree->make_file("directory/file", 0600).error().code(), ErrorCode::already_exists);
  EXPECT_EQ(tree->make_file("link", 0600).error().code(), ErrorCode::already_exists);
  EXPECT_FALSE(tree->make_file("out/new", 0600));
  EXPECT_FALSE(tree->make_file("inside/new", 0600));
  shell("test ! -e outside/new && test ! -e tree/directory/new");
}

TEST_F(ConfinedTreeTest, NamesThatOnlyBeginAlikeAreNotForgotten) {
  shell("echo x >tree/directory-2");
  Object* kept = tree->object("directory-2").value();
  tree->forget("directory");
  EXPECT_EQ(tree->object("directory-2").value(), kept);
}

}  // namespace
}  // namespace icbd::applier
