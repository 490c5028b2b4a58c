#include "parent_choice.h"

#include <gtest/gtest.h>

namespace icbd::source {
namespace {

using catalog::Version;
using catalog::VersionState;

Uuid uuid_of(std::uint32_t serial) {
  Uuid uuid;
  uuid.bytes[0] = static_cast<std::byte>(serial);
  return uuid;
}

Version version(std::uint32_t number, std::uint32_t parent, const std::string& image = "disk") {
  Version result;
  result.serial = VersionSerial(number + (image == "disk" ? 0 : 100));
  result.facts.image = image;
  result.facts.number = VersionNumber(number);
  if (parent != 0) result.facts.parent = VersionNumber(parent);
  result.facts.uuid = uuid_of(result.serial.value());
  result.state = VersionState::complete;
  return result;
}

class ParentChoiceTest : public testing::Test {
 protected:
  // The chosen number, 0 for none.
  std::uint32_t choose(std::uint32_t wanted, std::initializer_list<std::uint32_t> offered) {
    std::vector<Uuid> uuids;
    for (const std::uint32_t serial : offered) uuids.push_back(uuid_of(serial));
    const auto chosen = choose_parent(versions_[wanted - 1], versions_, uuids);
    return chosen ? chosen->facts.number.value() : 0;
  }

  // Number 5 was published after 2, as after going back to it.
  std::vector<Version> versions_ = {version(1, 0),         version(2, 1), version(3, 2),
                                    version(4, 3),         version(5, 2), version(6, 5),
                                    version(1, 0, "other")};
};

TEST_F(ParentChoiceTest, NothingOfferedIsNothingChosen) {
  EXPECT_EQ(choose(3, {}), 0u);
}
TEST_F(ParentChoiceTest, TheParentFirst) {
  EXPECT_EQ(choose(5, {4, 3, 2, 6}), 2u);
}
TEST_F(ParentChoiceTest, ThenTheNearestLower) {
  EXPECT_EQ(choose(5, {1, 3, 4, 6}), 4u);
}
TEST_F(ParentChoiceTest, ThenTheNearestHigher) {
  EXPECT_EQ(choose(2, {6, 4, 5}), 4u);
}
TEST_F(ParentChoiceTest, NotItself) {
  EXPECT_EQ(choose(3, {3}), 0u);
}
TEST_F(ParentChoiceTest, NotAnotherImage) {
  EXPECT_EQ(choose(3, {101}), 0u);
}
TEST_F(ParentChoiceTest, NotWhatNobodyKnows) {
  EXPECT_EQ(choose(3, {77}), 0u);
}
TEST_F(ParentChoiceTest, NotWhatIsNotComplete) {
  versions_[1].state = VersionState::arriving;
  EXPECT_EQ(choose(3, {2, 1}), 1u);
}

}  // namespace
}  // namespace icbd::source
