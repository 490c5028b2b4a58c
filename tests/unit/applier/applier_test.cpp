#include "icbd/applier/applier.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <array>
#include <span>

#include "icbd/base/file.h"
#include "icbd/base/limits.h"

#include "applier_fixture.h"

namespace icbd::applier {
namespace {

using namespace sendstream;
using testing::HasSubstr;

constexpr InodeNumber inode(300);

class ApplierCommands : public ApplierTest {
 protected:
  void SetUp() override {
    ApplierTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    make_subvolume("tree");
    root = open_root("tree");
    own = Uuid::random();
  }

  // A stream that has begun.
  Applier begin(Options options = {.policy = {}, .hold_back = false}) {
    Applier applier = make_applier(root, options);
    EXPECT_TRUE(applier.apply(Subvolume{"tree", own, 1}));
    return applier;
  }
  void must(Applier& applier, const Command& command) {
    const Status status = applier.apply(command);
    EXPECT_TRUE(status) << status.error().message();
  }
  Error refused(Applier& applier, const Command& command) {
    const Status status = applier.apply(command);
    return status ? Error(ErrorCode::internal, "accepted") : status.error();
  }
  std::string content(const std::string& name) {
    const auto bytes = read_file(path() / "tree" / name, 1 << 20);
    return bytes ? std::string(as_text(*bytes)) : bytes.error().message();
  }
  struct stat stat_of(const std::string& name) {
    struct stat status{};
    EXPECT_EQ(::lstat((path() / "tree" / name).c_str(), &status), 0) << name;
    return status;
  }
  int flags_of(const std::string& name) {
    const auto fd = open_file(path() / "tree" / name, O_RDONLY);
    int flags = 0;
    EXPECT_EQ(::ioctl(fd->get(), FS_IOC_GETFLAGS, &flags), 0);
    return flags;
  }

  unique_fd root;
  Uuid own;
};

TEST_F(ApplierCommands, AStreamHasOneSubvolumeFirstAndNothingAfterItsEnd) {
  Applier early = make_applier(root);
  EXPECT_THAT(refused(early, MakeFile{"f", inode}).message(), HasSubstr("begin with a subvolume"));

  Applier twice = begin();
  EXPECT_THAT(refused(twice, Subvolume{"other", Uuid::random(), 1}).message(),
              HasSubstr("second subvolume"));

  Applier late = begin();
  EXPECT_EQ(late.finish().error().code(), ErrorCode::corrupt);
  must(late, End{});
  EXPECT_TRUE(late.finish());
  EXPECT_THAT(refused(late, MakeFile{"f", inode}).message(), HasSubstr("after the end"));
}

TEST_F(ApplierCommands, AnErrorIsFinal) {
  Applier applier = begin();
  const Error error = refused(applier, Unlink{"nothing"});
  EXPECT_THAT(error.message(), HasSubstr("unlink ./nothing"));
  EXPECT_EQ(refused(applier, MakeFile{"f", inode}).message(), error.message());
  EXPECT_EQ(applier.finish().error().message(), error.message());
}

TEST_F(ApplierCommands, TheStreamSaysWhatItIs) {
  const Uuid parent = Uuid::random();
  Applier applier = make_applier(root);
  EXPECT_FALSE(applier.identity());
  must(applier, Snapshot{"v", own, 7, parent, 6});
  EXPECT_EQ(applier.identity()->uuid, own);
  EXPECT_EQ(applier.identity()->transaction_id, 7u);
  EXPECT_EQ(applier.identity()->parent_uuid, parent);

  Applier twins = make_applier(root);
  EXPECT_EQ(refused(twins, Snapshot{"v", own, 7, own, 6}).code(), ErrorCode::corrupt);
}

TEST_F(ApplierCommands, FilesAreMadeForTheirOwnerOnly) {
  Applier applier = begin();
  must(applier, MakeFile{"file", inode});
  must(applier, MakeDirectory{"directory", inode});
  must(applier, MakeFifo{"fifo", inode});
  must(applier, MakeSocket{"socket", inode});
  must(applier, MakeNode{"device", inode, 0x103, S_IFCHR | 0666});
  EXPECT_EQ(stat_of("file").st_mode, S_IFREG | 0600u);
  EXPECT_EQ(stat_of("directory").st_mode, S_IFDIR | 0700u);
  EXPECT_EQ(stat_of("fifo").st_mode, S_IFIFO | 0600u);
  EXPECT_EQ(stat_of("socket").st_mode, S_IFSOCK | 0600u);
  EXPECT_EQ(stat_of("device").st_mode, S_IFCHR | 0600u);
  EXPECT_EQ(stat_of("device").st_rdev, 0x103u);
}

// The kernel calls a new file oINODE-GENERATION-NUMBER first, and renames it with the next command.
TEST_F(ApplierCommands, AFileIsMadeUnderTheNameThatItIsGivenNext) {
  Applier applier = begin();
  must(applier, MakeDirectory{"d", inode});
  must(applier, MakeFile{"o300-7-0", inode});
  shell("test ! -e tree/o300-7-0");
  must(applier, Rename{"o300-7-0", "d/named"});
  must(applier, Write{"d/named", 0, as_bytes("content")});
  EXPECT_EQ(content("d/named"), "content");
  // It may keep that name, or get its own later.
  must(applier, MakeFile{"o301-7-0", inode});
  must(applier, Write{"o301-7-0", 0, as_bytes("later")});
  must(applier, MakeFile{"o302-7-0", inode});
  must(applier, MakeFile{"o303-7-0", inode});
  must(applier, Rename{"o301-7-0", "d/later"});
  must(applier, Rename{"d/later", "d/last"});
  must(applier, End{});
  EXPECT_EQ(content("d/last"), "later");
  shell(R"sh(
    test "$(cd tree; find . -type f | sort | xargs)" = "./d/last ./d/named ./o302-7-0 ./o303-7-0"
  )sh");
}

TEST_F(ApplierCommands, AFileThatWasHeldForItsNameIsRefusedLikeAnyOther) {
  shell("touch tree/there tree/o301-7-0; mkdir tree/d; ln -s d tree/link");
  Applier target_there = begin();
  must(target_there, MakeFile{"o300-7-0", inode});
  EXPECT_EQ(refused(target_there, Rename{"o300-7-0", "there"}).code(), ErrorCode::already_exists);
  Applier outside = begin();
  must(outside, MakeFile{"o300-7-0", inode});
  EXPECT_EQ(refused(outside, Rename{"o300-7-0", "link/file"}).code(), ErrorCode::corrupt);
  Applier itself_there = begin();
  EXPECT_EQ(refused(itself_there, MakeFile{"o301-7-0", inode}).code(), ErrorCode::already_exists);
  Applier twice = begin();
  must(twice, MakeFile{"o302-7-0", inode});
  EXPECT_EQ(refused(twice, MakeFile{"o302-7-0", inode}).code(), ErrorCode::already_exists);
  Applier long_name = begin();
  EXPECT_EQ(refused(long_name, MakeFile{"o" + std::string(300, '1') + "-1-1", inode}).code(),
            ErrorCode::corrupt);
}

TEST_F(ApplierCommands, AFileIsStoredAsWhereTheKernelMakesIt) {
  shell("mkdir tree/nocow; chattr +C tree/nocow");
  Applier applier = begin();
  must(applier, MakeFile{"o300-7-0", inode});
  must(applier, Rename{"o300-7-0", "nocow/file"});
  must(applier, Write{"nocow/file", 0, as_bytes("content")});
  must(applier, End{});
  EXPECT_EQ(content("nocow/file"), "content");
  EXPECT_EQ(flags_of("nocow/file") & FS_NOCOW_FL, 0);
}

TEST_F(ApplierCommands, DataCommands) {
  Applier applier = begin();
  must(applier, MakeFile{"f", inode});
  must(applier, Write{"f", 0, as_bytes("0123456789")});
  must(applier, Write{"f", 4, as_bytes("xy")});
  EXPECT_EQ(content("f"), "0123xy6789");
  must(applier, Truncate{"f", 5});
  EXPECT_EQ(content("f"), "0123x");
  must(applier, Fallocate{"f", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, {1, 2}});
  EXPECT_EQ(content("f"), std::string("0\0\0003x", 5));
}

// A truncate to the size that a file has takes away what was allocated beyond it, and only that.
TEST_F(ApplierCommands, ATruncateToTheSameSizeIsNotPassedOverWhereItChangesSomething) {
  Applier applier = begin();
  const std::string blocks(8192, 'a');
  must(applier, MakeFile{"f", inode});
  must(applier, Write{"f", 0, as_bytes(blocks)});
  const struct stat before = stat_of("f");
  must(applier, Truncate{"f", blocks.size()});
  EXPECT_EQ(stat_of("f").st_ctim.tv_nsec, before.st_ctim.tv_nsec);
  EXPECT_EQ(content("f"), blocks);
  must(applier, Fallocate{"f", FALLOC_FL_KEEP_SIZE, {0, 1 << 20}});
  EXPECT_EQ(stat_of("f").st_blocks, (1 << 20) / 512);
  must(applier, Truncate{"f", blocks.size()});
  EXPECT_EQ(content("f"), blocks);
  shell("sync -f tree");
  EXPECT_EQ(stat_of("f").st_blocks, 8192 / 512);
  // Also if it was allocated under another name, or there is a capability to lose.
  must(applier, MakeFile{"one", inode});
  must(applier, Link{"another", "one"});
  must(applier, Fallocate{"another", FALLOC_FL_KEEP_SIZE, {0, 1 << 20}});
  must(applier, Truncate{"one", 0});
  EXPECT_EQ(stat_of("one").st_blocks, 0);
  // cap_net_bind_service, effective: struct vfs_cap_data of linux/capability.h.
  const std::array<unsigned char, 20> capability = {1, 0, 0, 2, 0, 4};
  const auto bytes = std::as_bytes(std::span(capability));
  must(applier, MakeFile{"able", inode});
  must(applier, SetXattr{"able", "security.capability", {bytes.begin(), bytes.end()}});
  must(applier, Truncate{"able", 0});
  EXPECT_LT(::getxattr((path() / "tree/able").c_str(), "security.capability", nullptr, 0), 0);
}

// The kernel sends no truncate after an extent that ends with the file.
TEST_F(ApplierCommands, AnUpdateExtentGivesTheFileItsSize) {
  Applier applier = begin();
  must(applier, MakeFile{"f", inode});
  must(applier, UpdateExtent{"f", {0, 13}});
  EXPECT_EQ(stat_of("f").st_size, 13);
  must(applier, UpdateExtent{"f", {2, 3}});
  EXPECT_EQ(stat_of("f").st_size, 13);
}

TEST_F(ApplierCommands, ClonesShareOrCopy) {
  Applier applier = begin();
  const std::string blocks = std::string(4096, 'a') + std::string(4096, 'b') + "tail";
  must(applier, MakeFile{"f", inode});
  must(applier, Write{"f", 0, as_bytes(blocks)});
  must(applier, MakeFile{"whole", inode});
  must(applier, Clone{"whole", {0, blocks.size()}, own, 1, "f", 0});
  EXPECT_EQ(content("whole"), blocks);
  must(applier, MakeFile{"part", inode});
  must(applier, Clone{"part", {1, 3}, own, 1, "f", 4095});  // off the blocks' edges
  EXPECT_EQ(content("part"), std::string("\0abb", 4));
  must(applier, Clone{"f", {4096, 4096}, own, 1, "f", 0});
  EXPECT_EQ(content("f"), std::string(8192, 'a') + "tail");
}

TEST_F(ApplierCommands, ClonesThatMakeNoSenseAreCorrupt) {
  const auto refused_clone = [this](const Clone& clone) {
    shell("rm -f tree/f");
    Applier applier = begin();
    must(applier, MakeFile{"f", inode});
    must(applier, Truncate{"f", 8192});
    return refused(applier, clone);
  };
  EXPECT_EQ(refused_clone({"f", {0, 0}, own, 1, "f", 4096}).code(), ErrorCode::corrupt);
  EXPECT_EQ(refused_clone({"f", {0, 4096}, own, 1, "f", 8192}).code(), ErrorCode::corrupt);
  EXPECT_EQ(refused_clone({"f", {0, 4096}, own, 1, "f", 5000}).code(), ErrorCode::corrupt);
  EXPECT_EQ(refused_clone({"f", {100, 4096}, own, 1, "f", 0}).code(), ErrorCode::corrupt);
  EXPECT_EQ(refused_clone({"f", {0, 4096}, Uuid::random(), 1, "f", 0}).code(),
            ErrorCode::not_found);
}

TEST_F(ApplierCommands, ModeOwnerAndTimes) {
  Applier applier = begin();
  must(applier, MakeFile{"f", inode});
  must(applier, ChangeMode{"f", 06755});
  must(applier, ChangeOwner{"f", 1000, 1001});
  must(applier, SetTimes{"f", {11, 22}, {33, 44}, {55, 66}});
  must(applier, MakeSymlink{"link", inode, "f"});
  must(applier, ChangeOwner{"link", 5, 6});
  must(applier, ChangeMode{"", 0711});
  const struct stat file = stat_of("f");
  // The kernel's chown would have removed setuid; the stream meant to keep it.
  EXPECT_EQ(file.st_mode & 07777u, 06755u);
  EXPECT_EQ(file.st_uid, 1000u);
  EXPECT_EQ(file.st_gid, 1001u);
  EXPECT_EQ(file.st_atim.tv_sec, 11);
  EXPECT_EQ(file.st_atim.tv_nsec, 22);
  EXPECT_EQ(file.st_mtim.tv_sec, 33);
  EXPECT_EQ(stat_of("link").st_uid, 5u);
  EXPECT_EQ(stat_of("").st_mode & 07777u, 0711u);
}

TEST_F(ApplierCommands, ModesAndOwnersThatAreNone) {
  for (const Command& command :
       std::vector<Command>{ChangeMode{"", 010644}, ChangeOwner{"", 0xffffffff, 0},
                            ChangeOwner{"", 0, 1ull << 40}}) {
    Applier applier = begin();
    EXPECT_EQ(refused(applier, command).code(), ErrorCode::corrupt);
  }
}

TEST_F(ApplierCommands, FlagsThatForbidChangesAreSetAtTheEnd) {
  constexpr std::uint64_t immutable = 1 << 6, append = 1 << 7, no_dump = 1 << 8;
  Applier applier = begin();
  must(applier, MakeFile{"f", inode});
  must(applier, MakeDirectory{"d", inode});
  must(applier, FileAttributes{"f", immutable | no_dump});
  must(applier, FileAttributes{"d", append});
  must(applier, Write{"f", 0, as_bytes("still writable")});
  must(applier, Rename{"f", "d/renamed"});
  must(applier, End{});
  constexpr int known = FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL;
  EXPECT_EQ(flags_of("d/renamed") & known, FS_IMMUTABLE_FL | FS_NODUMP_FL);
  EXPECT_EQ(flags_of("d") & known, FS_APPEND_FL);
  shell("chattr -i tree/d/renamed; chattr -a tree/d");
}

// These are kept, not dropped, and what is not known is refused.
TEST_F(ApplierCommands, FlagsOfAllKindsAreSet) {
  constexpr std::uint64_t sync = 1 << 5, no_dump = 1 << 8, no_access_time = 1 << 9;
  constexpr std::uint64_t sync_directory = 1 << 10, stored_compressed = 1 << 11;
  Applier applier = begin();
  must(applier, MakeFile{"f", inode});
  must(applier, MakeDirectory{"d", inode});
  must(applier, FileAttributes{"f", sync | no_dump | no_access_time | stored_compressed});
  must(applier, FileAttributes{"d", sync_directory});
  EXPECT_EQ(flags_of("f"), FS_SYNC_FL | FS_NODUMP_FL | FS_NOATIME_FL);
  EXPECT_EQ(flags_of("d"), FS_DIRSYNC_FL);
  EXPECT_EQ(refused(applier, FileAttributes{"f", 1 << 12}).code(), ErrorCode::unsupported);
}

TEST_F(ApplierCommands, FsVerityIsEnabledOrTheVersionRefused) {
  Applier applier = begin();
  must(applier, MakeFile{"f", inode});
  must(applier, Write{"f", 0, as_bytes("content")});
  const Status enabled = applier.apply(EnableVerity{"f", 1, 4096, {}, {}});
  if (enabled) {
    EXPECT_NE(flags_of("f") & FS_VERITY_FL, 0);
  } else {
    EXPECT_EQ(enabled.error().code(), ErrorCode::unsupported);
    EXPECT_THAT(enabled.error().message(),
                testing::AllOf(HasSubstr("./f"), HasSubstr("no fs-verity")));
  }
  shell("rm tree/f");
  Applier shape = begin({.policy = {}, .hold_back = true});
  must(shape, MakeFile{"f", inode});
  EXPECT_THAT(refused(shape, EnableVerity{"f", 1, 4096, {}, {}}).message(), HasSubstr("fs-verity"));
}

// A stream of version 2 says that a file has fs-verity, and cannot give it that.
TEST_F(ApplierCommands, FsVerityIsNotStrippedByAnOlderStream) {
  constexpr std::uint64_t verity = std::uint64_t{1} << 32;
  Applier applier = begin();
  must(applier, MakeFile{"f", inode});
  must(applier, FileAttributes{"f", verity});
  EXPECT_THAT(refused(applier, End{}).message(), HasSubstr("fs-verity"));
}

TEST_F(ApplierCommands, ThereAreBoundsOnCommandsAndInodes) {
  Applier few_commands = begin({.policy = {}, .hold_back = false, .commands_max = 2});
  must(few_commands, MakeFile{"f", inode});
  EXPECT_EQ(refused(few_commands, End{}).code(), ErrorCode::too_large);

  Applier few_inodes = begin({.policy = {}, .hold_back = false, .inodes_max = 5});
  must(few_inodes, MakeFile{"1", inode});
  must(few_inodes, MakeDirectory{"2", inode});
  must(few_inodes, MakeSymlink{"3", inode, "x"});
  must(few_inodes, MakeFifo{"4", inode});
  must(few_inodes, Link{"another name is no inode", "1"});
  must(few_inodes, MakeNode{"5", inode, 1, S_IFCHR});
  EXPECT_EQ(refused(few_inodes, MakeSocket{"6", inode}).code(), ErrorCode::too_large);
}

// Each path of the stream is short enough; what they make together would not be.
TEST_F(ApplierCommands, RenamesDoNotMakeTreesDeeperThanAnyPath) {
  Applier applier = begin();
  const auto nest = [&](const std::string& top, int levels) {
    std::string path = top;
    for (int level = 0; level < levels; ++level) {
      must(applier, MakeDirectory{path, inode});
      path += "/d";
    }
    return path;
  };
  const std::string bottom = nest("a", 1500);
  nest("b", 500);
  nest("c", 700);
  must(applier, Rename{"b", bottom});
  EXPECT_EQ(refused(applier, Rename{"c", bottom + "/d"}).code(), ErrorCode::too_large);
}

TEST_F(ApplierCommands, CompressedDataThatTheKernelRefusesAreUnpacked) {
  // "abc" as a stored zlib stream, at an offset that is no sector's: only plain data can be there.
  constexpr std::array<unsigned char, 14> packed = {0x78, 0x01, 0x01, 0x03, 0x00, 0xfc, 0xff,
                                                    'a',  'b',  'c',  0x02, 0x4d, 0x01, 0x27};
  const ByteView data = std::as_bytes(std::span(packed));
  for (const bool write_encoded : {true, false}) {
    shell("rm -f tree/f");
    Applier applier = begin({.policy = {}, .hold_back = false, .write_encoded = write_encoded});
    must(applier, MakeFile{"f", inode});
    must(applier, Write{"f", 0, as_bytes("0123456789")});
    must(applier, EncodedWrite{"f", 4, 3, 3, 0, 1, 0, data});
    EXPECT_EQ(content("f"), "0123abc789");
  }
}

TEST_F(ApplierCommands, CompressedDataAreHeldAgainstTheirBounds) {
  const Bytes data(100);
  const std::pair<EncodedWrite, ErrorCode> writes[] = {
      {{"f", std::uint64_t{1} << 62, 10, 10, 0, 1, 0, data}, ErrorCode::too_large},
      {{"f", 0, 1 << 20, 1 << 20, 0, 1, 0, data}, ErrorCode::too_large},
      {{"f", 0, 10, 10, 5, 1, 0, data}, ErrorCode::corrupt},
      {{"f", 0, 10, 10, 0, 9, 0, data}, ErrorCode::unsupported},
      {{"f", 0, 10, 10, 0, 1, 1, data}, ErrorCode::unsupported},
      {{"f", 7, 10, 10, 0, 1, 0, data}, ErrorCode::corrupt}};  // zeros are no zlib data
  for (const auto& [write, code] : writes) {
    shell("rm -f tree/f");
    Applier applier = begin();
    must(applier, MakeFile{"f", inode});
    EXPECT_EQ(refused(applier, write).code(), code) << write.offset;
  }
}

TEST_F(ApplierCommands, APolicyRefusesAndNamesPathAndKey) {
  const auto refused_by = [this](Policy policy, const Command& command) {
    shell("rm -f tree/f");
    Applier applier = begin({.policy = policy, .hold_back = true});
    must(applier, MakeFile{"f", inode});
    must(applier, MakeDirectory{"d" + Uuid::random().to_string(), inode});
    const Error error = refused(applier, command);
    EXPECT_EQ(error.code(), ErrorCode::permission_denied);
    return error.message();
  };
  EXPECT_THAT(refused_by({.allow_device_nodes = false}, MakeNode{"dev", inode, 1, S_IFBLK}),
              testing::AllOf(HasSubstr("./dev"), HasSubstr("allow_device_nodes")));
  EXPECT_THAT(refused_by({.allow_setuid = false}, ChangeMode{"f", 04755}),
              testing::AllOf(HasSubstr("./f"), HasSubstr("allow_setuid")));
  EXPECT_THAT(
      refused_by({.allow_security_xattrs = false}, SetXattr{"f", "security.capability", {}}),
      testing::AllOf(HasSubstr("./f"), HasSubstr("security.capability"),
                     HasSubstr("allow_security_xattrs")));

  Applier applier = begin({.policy = {false, false, false}, .hold_back = true});
  must(applier, MakeFifo{"fifo", inode});
  must(applier, MakeDirectory{"shared", inode});
  must(applier, ChangeMode{"shared", 02775});
  must(applier, SetXattr{"shared", "user.x", {}});
}

}  // namespace
}  // namespace icbd::applier
