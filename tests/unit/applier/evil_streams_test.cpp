// Streams that want more than they may: each is refused, and nothing outside changes.
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <functional>

#include "icbd/sendstream/dump.h"
#include "icbd/sendstream/encoder.h"

#include "applier_fixture.h"
#include "harness/run.h"

namespace icbd::applier {
namespace {

using namespace sendstream;

constexpr InodeNumber inode(300);

class EvilStreams : public ApplierTest {
 protected:
  void SetUp() override {
    ApplierTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    shell(R"(mkdir outside
      echo precious >outside/file
      mkdir outside/directory
      btrfs -q subvolume create parent
      echo shared >parent/file
      ln -s ../outside/file parent/link
      btrfs -q subvolume create foreign
      echo foreign >foreign/file)");
    publish("parent", "parent-snapshot");
    const auto described = harness::describe_tree(path() / "outside");
    ASSERT_TRUE(described) << described.error().message();
    outside = *described;
    own = Uuid::random();
    outside_path = (path() / "outside/file").string();
  }

  // Applies the commands, encoded and decoded as a peer would send them, to a new subvolume.
  Status apply_evil(const std::vector<Command>& commands, bool hold_back) {
    shell("test ! -d tree || btrfs -q subvolume delete tree");
    make_subvolume("tree");
    Bytes stream = encode_header(3);
    const auto add = [&stream](const Command& command) {
      const Bytes encoded = encode(command, 3).value();
      stream.insert(stream.end(), encoded.begin(), encoded.end());
    };
    add(Subvolume{"tree", own, 1});
    for (const Command& command : commands) add(command);
    add(End{});
    return apply_stream(stream, "tree", {.policy = {}, .hold_back = hold_back});
  }

  // The last command is refused, whether the stream is a shape or not.
  void expect_refused(const std::vector<Command>& commands) {
    for (const bool hold_back : {false, true}) expect_refused(commands, hold_back);
  }
  void expect_refused(const std::vector<Command>& commands, bool hold_back) {
    SCOPED_TRACE(dump(commands.back()) + (hold_back ? " (shape)" : ""));
    const Status status = apply_evil(commands, hold_back);
    EXPECT_FALSE(status);
    if (!status) {
      EXPECT_THAT(status.error().message(), testing::HasSubstr(command_name(commands.back())));
    }
    expect_outside_unchanged();
  }
  void expect_outside_unchanged() {
    const auto now = harness::describe_tree(path() / "outside");
    ASSERT_TRUE(now) << now.error().message();
    EXPECT_EQ(harness::diff_trees(outside, *now), "");
  }

  harness::Tree outside;
  Uuid own;
  std::string outside_path;
};

// Every command that takes a path, for this path.
std::vector<Command> commands_on(const std::string& path, const Uuid& own) {
  return {MakeFile{path, inode},
          MakeDirectory{path, inode},
          MakeNode{path, inode, 0x103, S_IFCHR | 0600},
          MakeFifo{path, inode},
          MakeSocket{path, inode},
          MakeSymlink{path, inode, "target"},
          Rename{path, "inside"},
          Rename{"file", path},
          Link{path, "file"},
          Link{"inside", path},
          Unlink{path},
          RemoveDirectory{path},
          SetXattr{path, "user.evil", {}},
          RemoveXattr{path, "user.evil"},
          Write{path, 0, as_bytes("evil")},
          Clone{path, {0, 4096}, own, 1, "file", 0},
          Clone{"file", {0, 4096}, own, 1, path, 0},
          Truncate{path, 0},
          ChangeMode{path, 0777},
          ChangeOwner{path, 1, 1},
          UpdateExtent{path, {0, 1 << 20}},
          Fallocate{path, 3, {0, 4096}}};
}

TEST_F(EvilStreams, PathsThatLeadOutside) {
  const std::vector<Command> start = {MakeFile{"file", inode},
                                      Truncate{"file", 8192},
                                      MakeDirectory{"directory", inode},
                                      MakeSymlink{"up", inode, ".."},
                                      MakeSymlink{"out", inode, "../outside"},
                                      MakeSymlink{"absolute", inode, outside_path}};
  for (const std::string& path :
       {std::string("../outside/file"), std::string("directory/../../outside/file"), outside_path,
        std::string("up/outside/file"), std::string("out/file"), std::string("out/new"),
        std::string(".."), std::string("."), std::string("directory/..")}) {
    const auto after_start = [&start](const Command& command) {
      std::vector<Command> commands = start;
      commands.push_back(command);
      return commands;
    };
    for (const Command& command : commands_on(path, own)) expect_refused(after_start(command));
    // A shape has no use for these and does not even look for the path.
    expect_refused(after_start(SetTimes{path, {1, 1}, {1, 1}, {1, 1}}), false);
    expect_refused(after_start(FileAttributes{path, 1 << 6}), false);
  }
}

TEST_F(EvilStreams, WritingThroughASymlink) {
  for (const Command& command : std::vector<Command>{
           Write{"absolute", 0, as_bytes("evil")}, Truncate{"absolute", 0},
           UpdateExtent{"absolute", {0, 1 << 20}}, Fallocate{"absolute", 3, {0, 4096}},
           ChangeMode{"absolute", 0777}, Clone{"absolute", {0, 1}, own, 1, "absolute", 0},
           MakeFile{"absolute", inode}})
    expect_refused({MakeSymlink{"absolute", inode, outside_path}, command});
}

TEST_F(EvilStreams, OwnersOfSymlinksStayWithTheSymlink) {
  const Status status =
      apply_evil({MakeSymlink{"absolute", inode, outside_path}, ChangeOwner{"absolute", 7, 7},
                  SetTimes{"absolute", {1, 1}, {1, 1}, {1, 1}},
                  SetXattr{"absolute", "trusted.x", {}}, Link{"second", "absolute"}},
                 false);
  EXPECT_TRUE(status) << status.error().message();
  expect_outside_unchanged();
}

TEST_F(EvilStreams, ReplacingWhatIsThere) {
  expect_refused({MakeFile{"a", inode}, MakeFile{"b", inode}, Rename{"a", "b"}});
  expect_refused({MakeFile{"a", inode}, MakeSymlink{"a", inode, "x"}});
  expect_refused({MakeDirectory{"a", inode}, MakeDirectory{"b", inode}, Rename{"a", "b"}});
  expect_refused({MakeDirectory{"a", inode}, Rename{"a", "a/b"}});
}

TEST_F(EvilStreams, ReadingFromVersionsThatNobodyOffered) {
  expect_refused({MakeFile{"a", inode}, Clone{"a", {0, 8}, Uuid::random(), 1, "file", 0}});
}

TEST_F(EvilStreams, CloneSourcesAreConfinedToo) {
  const unique_fd parent = open_root("parent-snapshot");
  struct OneVersion : CloneSources {
    Result<int> root_of(const Uuid&) override { return root; }
    int root = -1;
  } one;
  one.root = parent.get();
  for (const char* source : {"link", "../outside/file", "../foreign/file", "/etc/passwd"}) {
    shell("test ! -d tree || btrfs -q subvolume delete tree");
    make_subvolume("tree");
    const unique_fd root = open_root("tree");
    Applier applier(root.get(), one, {});
    ASSERT_TRUE(applier.apply(Subvolume{"tree", own, 1}));
    ASSERT_TRUE(applier.apply(MakeFile{"a", inode}));
    EXPECT_FALSE(applier.apply(Clone{"a", {0, 4}, Uuid::random(), 1, source, 0})) << source;
  }
}

TEST_F(EvilStreams, SizesBeyondAllReason) {
  const std::uint64_t huge = std::uint64_t{1} << 62;
  for (const Command& command : std::vector<Command>{
           Truncate{"a", huge}, Write{"a", huge, as_bytes("x")}, UpdateExtent{"a", {huge, 1}},
           UpdateExtent{"a", {1, huge}}, Fallocate{"a", 0, {0, huge}},
           Clone{"a", {huge, 1}, own, 1, "a", 0}, Clone{"a", {0, huge}, own, 1, "a", 0}})
    expect_refused({MakeFile{"a", inode}, command});
}

// A stream may make a device node; writing to it must not reach the device.
TEST_F(EvilStreams, WritingToADevice) {
  shell("truncate -s 1M outside/disk");
  const auto attached =
      harness::run_checked({"losetup", "--find", "--show", (path() / "outside/disk").string()});
  ASSERT_TRUE(attached) << attached.error().message();
  const std::string device = attached->substr(0, attached->find('\n'));
  struct stat status{};
  EXPECT_EQ(::stat(device.c_str(), &status), 0);
  const auto described = harness::describe_tree(path() / "outside");
  outside = *described;
  expect_refused(
      {MakeNode{"a", inode, status.st_rdev, S_IFBLK | 0600}, Write{"a", 0, as_bytes("evil")}});
  expect_refused({MakeFifo{"a", inode}, Write{"a", 0, as_bytes("evil")}});
  const auto detached = harness::run_checked({"losetup", "--detach", device});
  EXPECT_TRUE(detached) << detached.error().message();
}

TEST_F(EvilStreams, NodesThatAreNoDevices) {
  expect_refused({MakeNode{"a", inode, 0, S_IFDIR | 0700}});
  expect_refused({MakeNode{"a", inode, 0, 0600}});
}

}  // namespace
}  // namespace icbd::applier
