#include "name_tree.h"

#include <gmock/gmock.h>

#include "icbd/base/limits.h"

namespace icbd::sendstream {
namespace {

using testing::UnorderedElementsAre;

TEST(NameTree, HasItsRootFromTheStart) {
  const NameTree tree;
  EXPECT_EQ(tree.find("").value(), 0u);
  EXPECT_THAT(tree.paths(), UnorderedElementsAre(""));
}

TEST(NameTree, OnlyPlainPathsAreFollowed) {
  NameTree tree;
  ASSERT_TRUE(tree.create("a", true));
  ASSERT_TRUE(tree.create("a/b", false));
  EXPECT_TRUE(tree.find("a/b"));
  const std::string overlong(limits::name_length + 1, 'n');
  for (const std::string& path : {std::string("/a"), std::string("a/"), std::string("a//b"),
                                  std::string("./a"), std::string("a/../a"), std::string(".."),
                                  std::string("/"), std::string("a/b/c"), overlong}) {
    EXPECT_EQ(tree.find(path).error().code(), ErrorCode::corrupt) << path;
    EXPECT_FALSE(tree.create(path, false)) << path;
    EXPECT_FALSE(tree.rename("a/b", path)) << path;
  }
  EXPECT_THAT(tree.paths(), UnorderedElementsAre("", "a", "a/b"));
}

TEST(NameTree, ANameIsGivenOnce) {
  NameTree tree;
  ASSERT_TRUE(tree.create("a", false));
  ASSERT_TRUE(tree.create("b", false));
  EXPECT_FALSE(tree.create("a", false));
  EXPECT_FALSE(tree.rename("b", "a"));
  EXPECT_FALSE(tree.rename("a", "a"));
  EXPECT_FALSE(tree.link("b", tree.find("a").value()));
}

TEST(NameTree, AFileHasAsManyNamesAsItIsGiven) {
  NameTree tree;
  const ObjectIndex file = tree.create("a", false).value();
  ASSERT_TRUE(tree.link("b", file));
  EXPECT_EQ(tree.names(file), 2u);
  EXPECT_EQ(tree.unlink("a").value(), file);
  EXPECT_EQ(tree.find("b").value(), file);
  EXPECT_EQ(tree.names(file), 1u);
}

TEST(NameTree, DirectoriesMoveWithAllThatIsInThem) {
  NameTree tree;
  ASSERT_TRUE(tree.create("a", true));
  ASSERT_TRUE(tree.create("a/b", true));
  ASSERT_TRUE(tree.create("a/b/file", false));
  ASSERT_TRUE(tree.create("c", true));
  ASSERT_TRUE(tree.rename("a/b", "c/d"));
  EXPECT_THAT(tree.paths(), UnorderedElementsAre("", "a", "c", "c/d", "c/d/file"));
}

TEST(NameTree, ADirectoryCannotLieInItself) {
  NameTree tree;
  ASSERT_TRUE(tree.create("a", true));
  ASSERT_TRUE(tree.create("a/b", true));
  EXPECT_FALSE(tree.rename("a", "a/c"));
  EXPECT_FALSE(tree.rename("a", "a/b/c"));
  EXPECT_TRUE(tree.rename("a/b", "b"));
  EXPECT_TRUE(tree.rename("a", "b/a"));
}

TEST(NameTree, WhatDoesNotFitIsCorrupt) {
  NameTree tree;
  ASSERT_TRUE(tree.create("directory", true));
  ASSERT_TRUE(tree.create("directory/file", false));
  EXPECT_FALSE(tree.unlink("nothing"));
  EXPECT_FALSE(tree.unlink("directory"));
  EXPECT_FALSE(tree.unlink(""));
  EXPECT_FALSE(tree.remove_directory("directory"));
  EXPECT_FALSE(tree.remove_directory("directory/file"));
  EXPECT_FALSE(tree.remove_directory(""));
  EXPECT_FALSE(tree.link("other", tree.find("directory").value()));
}

TEST(NameTree, AFrozenListingStaysWhateverHappensToTheNames) {
  NameTree tree;
  const ObjectIndex directory = tree.create("d", true).value();
  const ObjectIndex file = tree.create("d/file", false).value();
  tree.freeze();
  ASSERT_TRUE(tree.rename("d/file", "moved"));
  ASSERT_TRUE(tree.rename("d", "e"));
  ASSERT_TRUE(tree.create("d", true));
  ASSERT_TRUE(tree.create("d/file", false));
  ASSERT_TRUE(tree.remove_directory("e"));
  EXPECT_EQ(tree.find_frozen("d").value(), directory);
  EXPECT_EQ(tree.find_frozen("d/file").value(), file);
  EXPECT_FALSE(tree.find_frozen("moved"));
  EXPECT_NE(tree.find("d/file").value(), file);
}

TEST(NameTree, PathsLeavesOutWhatIsTooDeepToName) {
  NameTree tree;
  const std::string name(limits::name_length, 'x');
  ASSERT_TRUE(tree.create("0", true));
  for (int depth = 1; depth <= 20; ++depth) {
    ASSERT_TRUE(tree.create(name, true));
    ASSERT_TRUE(tree.rename(std::to_string(depth - 1), name + "/below"));
    ASSERT_TRUE(tree.rename(name, std::to_string(depth)));
  }
  ASSERT_TRUE(tree.rename("20", name));
  for (int depth = 0; depth < 30; ++depth) {
    ASSERT_TRUE(tree.create("top", true));
    ASSERT_TRUE(tree.rename(name, "top/" + name));
    ASSERT_TRUE(tree.rename("top", name));
  }
  for (const std::string& path : tree.paths()) EXPECT_LE(path.size(), limits::path_length);
  EXPECT_LT(tree.paths().size(), 30u);
}

}  // namespace
}  // namespace icbd::sendstream
