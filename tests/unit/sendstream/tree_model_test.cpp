#include "icbd/sendstream/tree_model.h"

#include <gmock/gmock.h>

#include <array>

#include "icbd/base/limits.h"

#include "sample_commands.h"

namespace icbd::sendstream {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

constexpr std::uint64_t block = 4096;
constexpr FileIndex disk(1), small(4);

// A model of a parent with a disk image of 16 blocks and a small file in a directory, which also
// has a name at the top; its stream has begun.
class TreeModelTest : public testing::Test {
 protected:
  TreeModelTest() { must(Snapshot{"v", own, 2, parent, 1}); }

  void must(const Command& command) {
    const Status status = model.apply(command);
    EXPECT_TRUE(status) << status.error().message();
  }
  Error refused(const Command& command) {
    const Status status = model.apply(command);
    return status ? Error(ErrorCode::internal, "accepted") : status.error();
  }
  Clone clone_of(const Uuid& uuid, const std::string& source, std::uint64_t source_offset,
                 const std::string& path, ByteRange range) {
    return Clone{path, range, uuid, 1, source, source_offset};
  }
  std::vector<ByteRange> updated(std::string_view path) { return model.lineage(path)->updated; }
  std::vector<ByteRange> rewritten(std::string_view path) { return model.lineage(path)->rewritten; }

  static TreeModel make_model() {
    const std::array<ParentName, 5> names = {{{"", FileIndex(0), true, 0},
                                              {"disk.raw", disk, false, 16 * block},
                                              {"directory", FileIndex(3), true, 0},
                                              {"directory/small", small, false, 100},
                                              {"link", small, false, 100}}};
    return TreeModel::from_parent(names).value();
  }

  const Uuid own = sample_uuid(1), parent = sample_uuid(50), foreign = sample_uuid(100);
  TreeModel model = make_model();
};

TEST_F(TreeModelTest, AnUntouchedFileHoldsItsParentsBytes) {
  const Lineage* lineage = model.lineage("disk.raw");
  ASSERT_TRUE(lineage);
  EXPECT_EQ(lineage->parent, disk);
  EXPECT_THAT(lineage->updated, IsEmpty());
  EXPECT_THAT(lineage->rewritten, IsEmpty());
  EXPECT_EQ(model.lineage("link")->parent, small);
  EXPECT_FALSE(model.lineage("directory"));
  EXPECT_FALSE(model.lineage("nothing"));
}

TEST_F(TreeModelTest, NamesFollowTheStream) {
  must(Rename{"directory", "o3-1-0"});
  must(MakeDirectory{"o9-2-0", InodeNumber(9)});
  must(Rename{"o9-2-0", "directory"});
  must(Rename{"o3-1-0", "directory/old"});
  must(Unlink{"link"});
  must(Link{"again", "directory/old/small"});
  must(MakeSymlink{"symlink", InodeNumber(10), "disk.raw"});
  EXPECT_THAT(model.paths(), UnorderedElementsAre("", "disk.raw", "directory", "directory/old",
                                                  "directory/old/small", "again", "symlink"));
  EXPECT_EQ(model.lineage("again")->parent, small);
  EXPECT_EQ(model.lineage("directory/old/small")->parent, small);
  EXPECT_FALSE(model.lineage("symlink"));
}

TEST_F(TreeModelTest, AFileRenamedOverAnotherHasNoParent) {
  must(Unlink{"disk.raw"});
  must(MakeFile{"o9-2-0", InodeNumber(9)});
  must(Rename{"o9-2-0", "disk.raw"});
  must(UpdateExtent{"disk.raw", {0, 4 * block}});
  must(Truncate{"disk.raw", 16 * block});
  EXPECT_EQ(model.lineage("disk.raw")->parent, std::nullopt);
  EXPECT_THAT(updated("disk.raw"), ElementsAre(ByteRange{0, 4 * block}));
  // The rest is zeros, as it has been from the start.
  EXPECT_THAT(rewritten("disk.raw"), IsEmpty());
}

TEST_F(TreeModelTest, UpdatedAndWrittenRanges) {
  must(UpdateExtent{"disk.raw", {block, block}});
  must(UpdateExtent{"disk.raw", {2 * block, block}});
  must(Write{"disk.raw", 8 * block, as_bytes("new")});
  EXPECT_THAT(updated("disk.raw"), ElementsAre(ByteRange{block, 2 * block}));
  EXPECT_THAT(rewritten("disk.raw"), ElementsAre(ByteRange{8 * block, 3}));
}

TEST_F(TreeModelTest, AllNamesOfAFileShowItsLineage) {
  must(UpdateExtent{"directory/small", {0, 100}});
  EXPECT_THAT(updated("link"), ElementsAre(ByteRange{0, 100}));
}

TEST_F(TreeModelTest, ATruncateThatShrinksForgetsWhatWasBeyond) {
  must(UpdateExtent{"disk.raw", {14 * block, block}});
  must(Truncate{"disk.raw", 10 * block});
  EXPECT_THAT(updated("disk.raw"), IsEmpty());
  EXPECT_THAT(rewritten("disk.raw"), IsEmpty());
}

TEST_F(TreeModelTest, BytesBeyondTheSmallestSizeAreNotTheParents) {
  must(Truncate{"disk.raw", 10 * block});
  must(Truncate{"disk.raw", 16 * block});
  EXPECT_THAT(rewritten("disk.raw"), ElementsAre(ByteRange{10 * block, 6 * block}));
}

TEST_F(TreeModelTest, AnExtensionIsRewrittenAndNothingElse) {
  must(Truncate{"disk.raw", 16 * block});
  EXPECT_THAT(rewritten("disk.raw"), IsEmpty());
  must(Truncate{"disk.raw", 20 * block});
  EXPECT_THAT(rewritten("disk.raw"), ElementsAre(ByteRange{16 * block, 4 * block}));
}

TEST_F(TreeModelTest, AnUpdateBeyondTheEndStaysUpdatedWhenTheSizeFollows) {
  must(UpdateExtent{"disk.raw", {18 * block, 2 * block}});
  must(Truncate{"disk.raw", 20 * block});
  EXPECT_THAT(updated("disk.raw"), ElementsAre(ByteRange{18 * block, 2 * block}));
  EXPECT_THAT(rewritten("disk.raw"), ElementsAre(ByteRange{16 * block, 2 * block}));
}

TEST_F(TreeModelTest, PunchedAndZeroedRangesAreRewrittenWithinTheFile) {
  must(UpdateExtent{"disk.raw", {0, 4 * block}});
  must(Fallocate{"disk.raw", 3, {block, block}});
  must(Fallocate{"disk.raw", 0x11, {14 * block, 10 * block}});
  EXPECT_THAT(updated("disk.raw"),
              ElementsAre(ByteRange{0, block}, ByteRange{2 * block, 2 * block}));
  EXPECT_THAT(rewritten("disk.raw"),
              ElementsAre(ByteRange{block, block}, ByteRange{14 * block, 2 * block}));
}

TEST_F(TreeModelTest, AllocationChangesOnlyWhatLiesBeyondTheEnd) {
  must(Fallocate{"disk.raw", 1, {8 * block, 20 * block}});
  EXPECT_THAT(rewritten("disk.raw"), IsEmpty());
  must(Fallocate{"disk.raw", 0, {15 * block, 2 * block}});
  EXPECT_THAT(rewritten("disk.raw"), ElementsAre(ByteRange{16 * block, block}));
  EXPECT_EQ(refused(Fallocate{"disk.raw", 8, {0, block}}).code(), ErrorCode::unsupported);
}

TEST_F(TreeModelTest, ACloneOfTheParentsSameFileAndOffsetKeepsWhatIsThere) {
  must(clone_of(parent, "disk.raw", block, "disk.raw", {block, 2 * block}));
  EXPECT_THAT(rewritten("disk.raw"), IsEmpty());
  // Also when the file has another name by now: the source's path is the parent's.
  must(Rename{"disk.raw", "renamed"});
  must(Truncate{"renamed", 0});
  must(clone_of(parent, "disk.raw", block, "renamed", {block, 2 * block}));
  EXPECT_THAT(rewritten("renamed"), ElementsAre(ByteRange{0, block}));
}

TEST_F(TreeModelTest, ACloneOfTheParentFromElsewhereIsRewritten) {
  must(clone_of(parent, "disk.raw", 0, "disk.raw", {block, block}));
  EXPECT_THAT(rewritten("disk.raw"), ElementsAre(ByteRange{block, block}));
  must(MakeFile{"new", InodeNumber(9)});
  must(clone_of(parent, "disk.raw", 0, "new", {0, block}));
  EXPECT_THAT(rewritten("new"), ElementsAre(ByteRange{0, block}));
}

// A new file under the old name is not the file that had the name in the parent.
TEST_F(TreeModelTest, ACloneOfTheParentsPathToANewFileThereIsRewritten) {
  must(Unlink{"disk.raw"});
  must(MakeFile{"disk.raw", InodeNumber(9)});
  must(clone_of(parent, "disk.raw", 0, "disk.raw", {0, 16 * block}));
  EXPECT_THAT(rewritten("disk.raw"), ElementsAre(ByteRange{0, 16 * block}));
}

TEST_F(TreeModelTest, ACloneOfPendingBytesIsPending) {
  must(UpdateExtent{"disk.raw", {2 * block, 2 * block}});
  must(MakeFile{"new", InodeNumber(9)});
  must(clone_of(own, "disk.raw", block, "new", {0, 2 * block}));
  EXPECT_THAT(updated("new"), ElementsAre(ByteRange{block, block}));
  EXPECT_THAT(rewritten("new"), ElementsAre(ByteRange{0, block}));
  // Within one file too.
  must(clone_of(own, "disk.raw", 3 * block, "disk.raw", {8 * block, 2 * block}));
  EXPECT_THAT(updated("disk.raw"),
              ElementsAre(ByteRange{2 * block, 2 * block}, ByteRange{8 * block, block}));
  EXPECT_THAT(rewritten("disk.raw"), ElementsAre(ByteRange{9 * block, block}));
}

TEST_F(TreeModelTest, ACloneOfAnotherVersionIsRewritten) {
  must(clone_of(foreign, "whatever", 0, "disk.raw", {0, block}));
  EXPECT_THAT(rewritten("disk.raw"), ElementsAre(ByteRange{0, block}));
}

TEST_F(TreeModelTest, AClonePastTheEndOfItsSourceIsCorrupt) {
  EXPECT_EQ(refused(clone_of(own, "disk.raw", 16 * block, "disk.raw", {0, block})).code(),
            ErrorCode::corrupt);
  EXPECT_EQ(refused(clone_of(parent, "link", 0, "disk.raw", {0, block})).code(),
            ErrorCode::corrupt);
}

TEST_F(TreeModelTest, WhatDoesNotFitTheTreeIsCorruptAndNamed) {
  for (const Command& command : std::vector<Command>{
           Unlink{"nothing"}, RemoveDirectory{"directory"}, Rename{"link", "disk.raw"},
           Truncate{"directory", 0}, UpdateExtent{"../disk.raw", {0, 1}}, ChangeMode{"nothing", 0},
           Link{"second", "directory"}, MakeFile{"disk.raw", InodeNumber(9)}}) {
    const Error error = refused(command);
    EXPECT_EQ(error.code(), ErrorCode::corrupt) << error.message();
    EXPECT_THAT(error.message(), HasSubstr("./"));
  }
}

TEST_F(TreeModelTest, SizesAreBounded) {
  const std::uint64_t huge = std::uint64_t{1} << 62;
  EXPECT_EQ(refused(Truncate{"disk.raw", huge}).code(), ErrorCode::too_large);
  EXPECT_EQ(refused(UpdateExtent{"disk.raw", {huge, 1}}).code(), ErrorCode::too_large);
  EXPECT_EQ(refused(Write{"disk.raw", ~std::uint64_t{0}, as_bytes("xy")}).code(),
            ErrorCode::too_large);
}

TEST_F(TreeModelTest, OneSubvolumeAndNothingAfterTheEnd) {
  EXPECT_EQ(refused(Snapshot{"v", own, 2, parent, 1}).code(), ErrorCode::corrupt);
  must(End{});
  EXPECT_EQ(refused(Unlink{"link"}).code(), ErrorCode::corrupt);
}

TEST(TreeModel, AStreamBeginsWithItsSubvolume) {
  TreeModel model;
  EXPECT_EQ(model.apply(Unlink{"a"}).error().code(), ErrorCode::corrupt);
}

TEST(TreeModel, AnIncrementalStreamNeedsItsParentAndAFullOneHasNone) {
  TreeModel without;
  EXPECT_FALSE(without.apply(Snapshot{"v", sample_uuid(1), 2, sample_uuid(2), 1}));
  const std::array<ParentName, 1> root = {{{"", FileIndex(0), true, 0}}};
  auto with = TreeModel::from_parent(root);
  ASSERT_TRUE(with);
  EXPECT_FALSE(with->apply(Subvolume{"v", sample_uuid(1), 2}));
  EXPECT_FALSE(with->apply(Snapshot{"v", sample_uuid(1), 2, sample_uuid(1), 1}));
}

TEST(TreeModel, WhatIsNotListedOfAFullStreamsFileIsZeros) {
  TreeModel model;
  ASSERT_TRUE(model.apply(Subvolume{"v", sample_uuid(1), 2}));
  ASSERT_TRUE(model.apply(MakeFile{"sparse", InodeNumber(9)}));
  ASSERT_TRUE(model.apply(UpdateExtent{"sparse", {10 * block, block}}));
  ASSERT_TRUE(model.apply(Truncate{"sparse", 12 * block}));
  EXPECT_THAT(model.lineage("sparse")->updated, ElementsAre(ByteRange{10 * block, block}));
  EXPECT_THAT(model.lineage("sparse")->rewritten, IsEmpty());
  // Cut off and grown again: the updated bytes are gone.
  ASSERT_TRUE(model.apply(Truncate{"sparse", 0}));
  ASSERT_TRUE(model.apply(Truncate{"sparse", 12 * block}));
  EXPECT_THAT(model.lineage("sparse")->updated, IsEmpty());
}

TEST(TreeModel, AParentMustMakeSense) {
  using Names = std::vector<ParentName>;
  const ParentName root{"", FileIndex(0), true, 0};
  for (const Names& names :
       {Names{}, Names{{"a", FileIndex(0), true, 0}}, Names{{"", FileIndex(0), false, 0}},
        Names{root, {"a/b", FileIndex(1), false, 0}}, Names{root, {"a", FileIndex(0), true, 0}},
        Names{root, {"a", FileIndex(1), false, 0}, {"a", FileIndex(2), false, 0}},
        Names{root, {"a", FileIndex(1), false, 1}, {"b", FileIndex(1), false, 2}}})
    EXPECT_EQ(TreeModel::from_parent(names).error().code(), ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace icbd::sendstream
