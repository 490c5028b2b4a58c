// What a master shows of its repository.
#include "icbd/library/repository_library.h"

#include <gtest/gtest.h>

#include "unit/repository/repository_fixture.h"

namespace icbd::library {
namespace {

class RepositoryLibraryTest : public repository::RepositoryTest {
 protected:
  void publish(const std::string& script) {
    in_live(script);
    ASSERT_TRUE(try_publish("image", live()));
  }
  static std::string content(fs::Tree& tree, const std::string& name) {
    const auto attributes = tree.lookup(fs::subvolume_root, name);
    if (!attributes) return attributes.error().message();
    const auto file = tree.open(InodeNumber(attributes->st_ino));
    if (!file) return file.error().message();
    Bytes bytes(64);
    const auto got = (*file)->read_local(bytes, 0);
    return got ? std::string(as_text(ByteView(bytes).first(*got))) : got.error().message();
  }
};

TEST_F(RepositoryLibraryTest, ShowsWhatIsPublishedAsSoonAsItIs) {
  RepositoryLibrary library(*repository_);
  EXPECT_TRUE(library.images()->empty());
  publish("echo one > file");
  const auto images = library.images();
  ASSERT_EQ(images->size(), 1u);
  ASSERT_EQ(images->front().versions.size(), 1u);
  const VersionSerial serial = images->front().versions.front().serial;
  EXPECT_EQ(library.version(serial)->state, "complete");
  const auto tree = library.tree(serial);
  ASSERT_NE(tree, nullptr);
  EXPECT_EQ(content(*tree, "file"), "one\n");

  publish("echo two > file");
  ASSERT_EQ(library.images()->front().versions.size(), 2u);
  EXPECT_EQ(content(*library.tree(serial), "file"), "one\n") << "a version never changes";
}

TEST_F(RepositoryLibraryTest, WhatIsNotCompleteIsNotShown) {
  publish("echo one > file");
  catalog::VersionFacts facts;
  facts.image = "image";
  facts.number = VersionNumber(9);
  facts.uuid = Uuid::random();
  const auto remote = repository_->catalog().add_version(facts, catalog::VersionState::remote);
  ASSERT_TRUE(remote);
  RepositoryLibrary library(*repository_);
  EXPECT_EQ(library.images()->front().versions.size(), 1u);
  EXPECT_FALSE(library.version(*remote));
  EXPECT_EQ(library.tree(*remote), nullptr);
  bool told = false;
  library.prepare(*remote, [&](const auto& tree) {
    told = true;
    EXPECT_EQ(tree.error().code(), ErrorCode::not_found);
  });
  EXPECT_TRUE(told);
}

TEST_F(RepositoryLibraryTest, TagsAreLinks) {
  publish("echo one > file");
  publish("echo two > file");
  RepositoryLibrary library(*repository_);
  ASSERT_TRUE(repository_->catalog().set_tag({"image", "current", VersionNumber(1)}));
  const auto images = library.images();
  const auto& links = images->front().links;
  ASSERT_EQ(links.size(), 2u);
  EXPECT_EQ(links[0].target, VersionNumber(2)) << links[0].name;
  EXPECT_EQ(links[1].target, VersionNumber(1)) << links[1].name;
}

}  // namespace
}  // namespace icbd::library
