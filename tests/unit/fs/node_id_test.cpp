#include "icbd/fs/node_id.h"

#include <gtest/gtest.h>

#include <set>

namespace icbd::fs {
namespace {

TEST(NodeId, TheRootIsWhatTheKernelCallsIt) {
  EXPECT_EQ(encode(NodeId::root()), 1u);
  EXPECT_EQ(decode(1), NodeId::root());
}

TEST(NodeId, EveryKindComesBackFromItsNumber) {
  const NodeId nodes[] = {
      NodeId::of_image(1),
      NodeId::of_image(0xffffffff),
      NodeId::of_link(1),
      NodeId::of_directory(0),
      NodeId::of_content(VersionSerial(1), InodeNumber(256), false, 0),
      NodeId::of_content(VersionSerial(1), InodeNumber(256), true, 0),
      NodeId::of_content(VersionSerial((1u << 24) - 1), InodeNumber((1ull << 36) - 1), true, 0),
  };
  std::set<std::uint64_t> numbers;
  for (const NodeId& node : nodes) {
    const auto number = encode(node);
    ASSERT_TRUE(number);
    EXPECT_EQ(decode(*number), node);
    numbers.insert(*number);
  }
  EXPECT_EQ(numbers.size(), std::size(nodes));
}

TEST(NodeId, WhatDoesNotFitIsRefusedAndNotCut) {
  EXPECT_FALSE(encode(NodeId::of_content(VersionSerial(1), InodeNumber(1ull << 36), false, 0)));
  EXPECT_FALSE(encode(NodeId::of_content(VersionSerial(1u << 24), InodeNumber(256), false, 0)));
  EXPECT_FALSE(encode(NodeId::of_content(VersionSerial(0), InodeNumber(256), false, 0)));
}

TEST(NodeId, NumbersThatWereNeverGivenAreNotDecoded) {
  EXPECT_FALSE(decode(0));
  EXPECT_FALSE(decode(2));
  EXPECT_FALSE(decode(std::uint64_t{4} << 32));
  EXPECT_FALSE(decode((std::uint64_t{1} << 63) | (std::uint64_t{1} << 32)));
  EXPECT_FALSE(decode((std::uint64_t{1} << 60) | (std::uint64_t{1} << 32)));
}

TEST(NodeId, ANodeOfAnEarlierGenerationIsAnother) {
  const auto node = [](std::uint64_t generation) {
    return NodeId::of_content(VersionSerial(7), InodeNumber(257), true, generation);
  };
  EXPECT_NE(encode(node(0)), encode(node(1)));
  EXPECT_EQ(inode_for_stat(*encode(node(0))), inode_for_stat(*encode(node(1))));
  EXPECT_EQ(decode(*encode(node(7))), node(7));
  EXPECT_TRUE(node(9).is_of(9));
  EXPECT_FALSE(node(8).is_of(9));
}

TEST(NodeId, AFileHasOneInodeNumberArrivingAndComplete) {
  const auto arriving = encode(NodeId::of_content(VersionSerial(7), InodeNumber(257), false, 0));
  const auto complete = encode(NodeId::of_content(VersionSerial(7), InodeNumber(257), true, 0));
  const auto other = encode(NodeId::of_content(VersionSerial(8), InodeNumber(257), true, 0));
  ASSERT_TRUE(arriving && complete && other);
  EXPECT_NE(*arriving, *complete);
  EXPECT_EQ(inode_for_stat(*arriving), inode_for_stat(*complete));
  EXPECT_NE(inode_for_stat(*complete), inode_for_stat(*other));
}

}  // namespace
}  // namespace icbd::fs
