#include "refresher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "fake_library.h"

namespace icbd::fs {
namespace {

using namespace std::chrono_literals;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

VersionEntry version(std::uint32_t number, std::uint64_t generation = 1) {
  return {.serial = VersionSerial(number),
          .number = VersionNumber(number),
          .state = "complete",
          .image = "win11",
          .generation = generation,
          .root = {}};
}

LinkEntry link(std::uint32_t id, std::uint32_t target) {
  return {.id = id, .name = "link" + std::to_string(id), .target = VersionNumber(target)};
}

ImageEntry image(std::uint32_t id, std::vector<VersionEntry> versions,
                 std::vector<LinkEntry> links = {}) {
  return {.id = id,
          .name = "image" + std::to_string(id),
          .modified = {},
          .versions = std::move(versions),
          .links = std::move(links)};
}

std::uint64_t image_node(std::uint32_t id) {
  return encode(NodeId::of_image(id)).value();
}
std::uint64_t link_node(std::uint32_t id) {
  return encode(NodeId::of_link(id)).value();
}

// "PARENT/NAME"
std::vector<std::string> names_in(const Invalidations& all) {
  std::vector<std::string> names;
  for (const auto& [parent, name] : all.names) names.push_back(std::to_string(parent) + "/" + name);
  return names;
}
std::string in_image(std::uint32_t id, const std::string& name) {
  return std::to_string(image_node(id)) + "/" + name;
}

TEST(Differences, WhatStaysTheSameStaysRemembered) {
  const Library::Images same = {image(1, {version(1)}, {link(2, 1)})};
  const Invalidations all = differences(&same, same);
  EXPECT_THAT(all.nodes, ElementsAre(fuse_root_id));
  EXPECT_THAT(all.names, IsEmpty());
}

TEST(Differences, ANewVersionChangesItsImageAlone) {
  const Library::Images before = {image(1, {version(1)}), image(2, {version(5)})};
  const Library::Images after = {image(1, {version(1), version(2)}), image(2, {version(5)})};
  const Invalidations all = differences(&before, after);
  EXPECT_THAT(all.nodes, UnorderedElementsAre(fuse_root_id, image_node(1)));
  EXPECT_THAT(all.names, IsEmpty()) << "what is not there is never remembered";
}

TEST(Differences, AStateThatChangesChangesNoName) {
  const Library::Images before = {image(1, {version(1)})};
  Library::Images after = before;
  after[0].versions[0].state = "arriving";
  const Invalidations all = differences(&before, after);
  EXPECT_THAT(all.nodes, ElementsAre(fuse_root_id));
  EXPECT_THAT(all.names, IsEmpty());
}

TEST(Differences, AVersionThatWasDroppedOrHasGoneIsLookedUpAnew) {
  const Library::Images before = {image(1, {version(1), version(2), version(3)})};
  const Library::Images after = {image(1, {version(1), version(2, 2)})};
  EXPECT_THAT(names_in(differences(&before, after)),
              UnorderedElementsAre(in_image(1, "2"), in_image(1, "3")));
}

TEST(Differences, ALinkThatMovesIsReadAnew) {
  const Library::Images before = {image(1, {version(1), version(2)}, {link(7, 1), link(8, 1)})};
  const Library::Images after = {image(1, {version(1), version(2)}, {link(7, 2), link(8, 1)})};
  const Invalidations all = differences(&before, after);
  EXPECT_THAT(all.nodes, Contains(link_node(7)));
  EXPECT_THAT(names_in(all), Not(Contains(in_image(1, "link8"))));
}

TEST(Differences, ALinkThatHasGoneIsNotRemembered) {
  const Library::Images before = {image(1, {version(1)}, {link(7, 1)})};
  const Library::Images after = {image(1, {version(1)})};
  EXPECT_THAT(names_in(differences(&before, after)), ElementsAre(in_image(1, "link7")));
}

TEST(Differences, AnImageThatHasGoneIsNotRemembered) {
  const Library::Images before = {image(1, {}), image(2, {})};
  const Library::Images after = {image(2, {})};
  EXPECT_THAT(names_in(differences(&before, after)), ElementsAre("1/image1"));
}

TEST(Differences, OfNoPictureEveryListingIsReadAnewAndNoNameForgotten) {
  const Library::Images after = {image(1, {version(1)}, {link(7, 1)}), image(2, {})};
  const Invalidations all = differences(nullptr, after);
  EXPECT_THAT(all.nodes,
              UnorderedElementsAre(fuse_root_id, image_node(1), link_node(7), image_node(2)));
  EXPECT_THAT(all.names, IsEmpty()) << "who stands in a directory would lose it";
}

// ---- the thread ------------------------------------------------------------------------------

class RefresherTest : public ::testing::Test {
 protected:
  void note(const std::string& what) {
    const std::lock_guard lock(mutex_);
    said_.push_back(what);
    changed_.notify_all();
  }
  void wait_until_said(const std::string& what) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, 30s, [&] {
      return std::ranges::find(said_, what) != said_.end();
    })) << what;
  }
  std::vector<std::string> said() {
    const std::lock_guard lock(mutex_);
    return said_;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> said_;
  FakeLibrary library_;
  Refresher refresher_{library_, [this](std::uint64_t node) { note(std::to_string(node)); },
                       [this](const auto& names) {
                         for (const auto& [parent, name] : names)
                           note(std::to_string(parent) + "/" + name);
                       }};
};

TEST_F(RefresherTest, TheKernelIsToldOfAChange) {
  library_.show({image(1, {version(1)})});
  refresher_.start(false);
  library_.show({image(1, {})});
  refresher_.changed();
  wait_until_said(in_image(1, "1"));
  library_.show({});
  refresher_.changed();
  wait_until_said("1/image1");
}

TEST_F(RefresherTest, WithoutAChangeNothingIsSaid) {
  library_.show({image(1, {version(1)})});
  refresher_.start(false);
  refresher_.changed();
  refresher_.stop();
  EXPECT_THAT(said(), IsEmpty());
}

TEST_F(RefresherTest, AfterAnotherProcessEveryListingIsReadAnew) {
  library_.show({image(1, {version(1)})});
  refresher_.start(true);
  wait_until_said(std::to_string(image_node(1)));
}

TEST_F(RefresherTest, StoppingTwiceOrWithoutAStartIsNoHarm) {
  refresher_.stop();
  refresher_.start(false);
  refresher_.stop();
  refresher_.stop();
  refresher_.changed();
}

}  // namespace
}  // namespace icbd::fs
