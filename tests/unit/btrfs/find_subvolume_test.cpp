#include "icbd/btrfs/find_subvolume.h"

#include <fcntl.h>
#include <gmock/gmock.h>

#include "icbd/base/file.h"
#include "icbd/btrfs/subvolume.h"

#include "harness/loop_btrfs.h"
#include "harness/run.h"

namespace icbd::btrfs {
namespace {

class FindSubvolume : public harness::BtrfsTest {
 protected:
  void SetUp() override {
    BtrfsTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    std::filesystem::create_directories(path() / "here/deep");
    std::filesystem::create_directory(path() / "here-too");
    ASSERT_TRUE(create_subvolume(path() / "live"));
  }
  // A read-only snapshot, received or not.
  Uuid make(const std::string& name, std::optional<Uuid> received = std::nullopt) {
    EXPECT_TRUE(create_snapshot(path() / "live", path() / name, false));
    const unique_fd root = open(name);
    if (received) {
      EXPECT_TRUE(set_received(root.get(), *received, 1));
    }
    EXPECT_TRUE(set_read_only(root.get(), true));
    return uuid_of(root.get());
  }
  unique_fd open(const std::string& name) {
    return open_file(path() / name, O_RDONLY | O_DIRECTORY).value();
  }
  static Uuid uuid_of(int fd) {
    const auto info = subvolume_info(fd);
    EXPECT_TRUE(info) << info.error().message();
    return info ? info->uuid : Uuid{};
  }
  // The own UUID of what is found.
  Result<Uuid> find(const std::string& directory, const Uuid& uuid) {
    const unique_fd fd = open(directory);
    ICBD_ASSIGN(const unique_fd root, find_subvolume(fd.get(), uuid));
    return uuid_of(root.get());
  }
};

TEST_F(FindSubvolume, ByReceivedUuidBeforeOwnUuid) {
  const Uuid first = make("here/first");
  const Uuid received = make("here/deep/received", first);
  EXPECT_EQ(find("here", first), received);
  EXPECT_EQ(find("here", received), received);
}

TEST_F(FindSubvolume, OnlyBelowTheDirectory) {
  const Uuid outside = make("outside");
  const Uuid beside = make("here-too/beside");
  const Uuid inside = make("here/deep/inside");
  EXPECT_EQ(find("here", outside).error().code(), ErrorCode::not_found);
  EXPECT_EQ(find("here", beside).error().code(), ErrorCode::not_found);
  EXPECT_EQ(find("here", inside), inside);
  EXPECT_EQ(find("here/deep", inside), inside);
  EXPECT_EQ(find(".", outside), outside);
}

TEST_F(FindSubvolume, BelowASubvolumeToo) {
  ASSERT_TRUE(create_subvolume(path() / "here/volume"));
  std::filesystem::create_directory(path() / "here/volume/directory");
  const Uuid inside = make("here/volume/directory/inside");
  EXPECT_EQ(find("here/volume", inside), inside);
  EXPECT_EQ(find("here/volume/directory", inside), inside);
  EXPECT_EQ(find("here", inside), inside);
}

TEST_F(FindSubvolume, WritableOnesDoNotCount) {
  const Uuid uuid = make("here/one");
  ASSERT_TRUE(set_read_only(open("here/one").get(), false));
  EXPECT_EQ(find("here", uuid).error().code(), ErrorCode::not_found);
}

TEST_F(FindSubvolume, WhatIsHiddenByAMountIsNotThere) {
  const Uuid uuid = make("here/deep/one");
  ASSERT_TRUE(
      harness::run_checked({"mount", "-t", "tmpfs", "none", (path() / "here/deep").string()}));
  const auto found = find("here", uuid);
  ASSERT_TRUE(harness::run_checked({"umount", (path() / "here/deep").string()}));
  EXPECT_EQ(found.error().code(), ErrorCode::not_found);
}

}  // namespace
}  // namespace icbd::btrfs
