#include "icbd/applier/receive.h"

#include <gmock/gmock.h>
#include <sys/file.h>

#include <fstream>

#include "icbd/base/file.h"
#include "icbd/btrfs/subvolume.h"
#include "icbd/sendstream/encoder.h"

#include "applier_fixture.h"
#include "harness/random_tree.h"
#include "harness/run.h"

namespace icbd::applier {
namespace {

using namespace sendstream;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

class ReceiveTest : public ApplierTest {
 protected:
  void SetUp() override {
    ApplierTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    std::filesystem::create_directory(path() / "received");
  }

  Result<Received> receive(ByteView stream, ReceiveOptions options = {},
                           const std::string& directory = "received") {
    ICBD_ASSIGN(Receiver receiver, Receiver::open(path() / directory, options));
    while (!stream.empty()) {
      const ByteView piece = stream.first(std::min<std::size_t>(stream.size(), 70'000));
      stream = stream.subspan(piece.size());
      ICBD_TRY(receiver.feed(piece));
    }
    ICBD_ASSIGN(const auto received, receiver.finish());
    return received.back();
  }
  // All of a directory's streams, whatever becomes of it.
  Result<std::vector<Received>> receive_all(ByteView streams, const ReceiveOptions& options) {
    ICBD_ASSIGN(Receiver receiver, Receiver::open(path() / "received", options));
    ICBD_TRY(receiver.feed(streams));
    return receiver.finish();
  }
  static Bytes joined(const std::vector<Bytes>& pieces) {
    Bytes all;
    for (const Bytes& piece : pieces) all.insert(all.end(), piece.begin(), piece.end());
    return all;
  }
  // What lies in the directory that is received into, hidden names included.
  std::vector<std::string> names() {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(path() / "received"))
      found.push_back(entry.path().filename());
    return found;
  }
  btrfs::SubvolumeInfo info_of(const std::string& name) {
    const unique_fd root = open_root(name);
    auto info = btrfs::subvolume_info(root.get());
    EXPECT_TRUE(info) << info.error().message();
    return info.value_or(btrfs::SubvolumeInfo{});
  }
  static Bytes stream_of(const std::vector<Command>& commands) {
    Bytes stream = encode_header(2);
    for (const Command& command : commands) {
      const Bytes encoded = encode(command, 2).value();
      stream.insert(stream.end(), encoded.begin(), encoded.end());
    }
    return stream;
  }
  void small_versions() {
    make_subvolume("live");
    shell("echo one >live/file; head -c 100000 /dev/urandom >live/disk");
    publish("live", "one");
    shell("echo two >live/file; cp --reflink=always live/disk live/copy");
    publish("live", "two");
  }
};

TEST_F(ReceiveTest, AFullAndAnIncrementalStreamBecomeReadOnlyVersionsOfTheSameIdentity) {
  small_versions();
  const auto one = receive(send("one"));
  ASSERT_TRUE(one) << one.error().message();
  EXPECT_EQ(one->path, path() / "received/one");
  EXPECT_EQ(one->uuid, info_of("one").uuid);
  EXPECT_FALSE(one->parent_uuid);
  const auto two = receive(send("-p one two"));
  ASSERT_TRUE(two) << two.error().message();
  EXPECT_EQ(two->parent_uuid, one->uuid);

  for (const std::string name : {"one", "two"}) {
    EXPECT_EQ(difference(name, "received/" + name), "");
    const auto info = info_of("received/" + name);
    EXPECT_TRUE(info.read_only);
    EXPECT_EQ(info.received_uuid, info_of(name).uuid);
    EXPECT_EQ(info.send_transaction, info_of(name).generation);
    const auto shown =
        harness::run_checked({"btrfs", "subvolume", "show", (path() / "received" / name).string()});
    ASSERT_TRUE(shown) << shown.error().message();
    EXPECT_THAT(*shown, HasSubstr(info_of(name).uuid.to_string()));
  }
  EXPECT_THAT(names(), UnorderedElementsAre("one", "two"));
}

TEST_F(ReceiveTest, TheSubvolumeCanBeCalledWhatTheReceiverLikes) {
  small_versions();
  const auto one = receive(send("one"), {.policy = {}, .name = ".hidden"});
  ASSERT_TRUE(one) << one.error().message();
  EXPECT_EQ(one->path, path() / "received/.hidden");
  EXPECT_EQ(difference("one", "received/.hidden"), "");
  // A second one would take its place.
  std::filesystem::create_directory(path() / "other");
  auto receiver = Receiver::open(path() / "other", {.policy = {}, .name = "both"});
  ASSERT_TRUE(receiver);
  const Status fed = receiver->feed(joined({send("one"), send("two")}));
  ASSERT_FALSE(fed);
  EXPECT_EQ(fed.error().code(), ErrorCode::already_exists);
  EXPECT_EQ(receiver->received().size(), 1u);
}

// What was received can be sent on, and received elsewhere as what it was at first.
TEST_F(ReceiveTest, AReceivedVersionKeepsItsIdentityWhenItIsSentOn) {
  small_versions();
  ASSERT_TRUE(receive(send("one")));
  std::filesystem::create_directory(path() / "further");
  const auto further = receive(send("received/one"), {}, "further");
  ASSERT_TRUE(further) << further.error().message();
  EXPECT_EQ(further->uuid, info_of("one").uuid);
  const auto incremental = receive(send("-p one two"), {}, "further");
  EXPECT_TRUE(incremental) << incremental.error().message();
}

TEST_F(ReceiveTest, TheParentIsFoundByItsOwnUuidToo) {
  make_subvolume("live");
  shell(R"(echo one >live/file
    mkdir received/deep
    btrfs -q subvolume snapshot -r live received/deep/one
    echo two >live/file)");
  publish("live", "two");
  const auto two = receive(send("-p received/deep/one two"));
  ASSERT_TRUE(two) << two.error().message();
  EXPECT_EQ(difference("two", "received/two"), "");
}

TEST_F(ReceiveTest, WithoutTheParentNothingIsMade) {
  small_versions();
  const auto two = receive(send("-p one two"));
  ASSERT_FALSE(two);
  EXPECT_EQ(two.error().code(), ErrorCode::not_found);
  EXPECT_THAT(two.error().message(), HasSubstr(info_of("one").uuid.to_string()));
  EXPECT_THAT(names(), IsEmpty());
}

// A writable subvolume may have changed since: it is nobody's parent.
TEST_F(ReceiveTest, AWritableSubvolumeIsNoParent) {
  small_versions();
  ASSERT_TRUE(receive(send("one")));
  shell("btrfs property set -f received/one ro false");
  const auto two = receive(send("-p one two"));
  EXPECT_EQ(two.error().code(), ErrorCode::not_found);
}

TEST_F(ReceiveTest, WhatExistsIsNotReplaced) {
  small_versions();
  for (const char* there : {"mkdir received/one", "touch received/one", "ln -s x received/one"}) {
    shell(there);
    EXPECT_EQ(receive(send("one")).error().code(), ErrorCode::already_exists) << there;
    shell("rm -r received/one");
  }
  EXPECT_THAT(names(), IsEmpty());
}

TEST_F(ReceiveTest, TheNameMustBeOneSafeName) {
  const std::vector<std::string> bad = {
      "", ".", "..", "a/b", "../evil", "/evil", "/", "a/", std::string(250, 'n')};
  for (const std::string& name : bad) {
    const auto received = receive(stream_of({Subvolume{name, Uuid::random(), 1}, End{}}));
    ASSERT_FALSE(received) << name;
    EXPECT_EQ(received.error().code(), ErrorCode::corrupt) << name;
  }
  EXPECT_THAT(names(), IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(path() / "evil"));
}

// Whatever is wrong with a stream, at whatever byte it stops: nothing is left.
TEST_F(ReceiveTest, AStreamThatIsCutOrWrongLeavesNothing) {
  small_versions();
  const Bytes stream = send("one");
  for (const std::size_t length :
       {std::size_t{0}, std::size_t{10}, std::size_t{60}, stream.size() / 2, stream.size() - 1}) {
    const auto received = receive(ByteView(stream).first(length));
    ASSERT_FALSE(received) << length;
    EXPECT_EQ(received.error().code(), ErrorCode::corrupt);
    EXPECT_THAT(names(), IsEmpty()) << length;
  }
  const Bytes evil = stream_of(
      {Subvolume{"evil", Uuid::random(), 1}, MakeFile{"../outside", InodeNumber(300)}, End{}});
  EXPECT_FALSE(receive(evil));
  EXPECT_THAT(names(), IsEmpty());
}

TEST_F(ReceiveTest, UntilTheEndTheNameIsNotThere) {
  small_versions();
  const Bytes stream = send("one");
  auto receiver = Receiver::open(path() / "received");
  ASSERT_TRUE(receiver) << receiver.error().message();
  EXPECT_FALSE(receiver->discard().value());
  ASSERT_TRUE(receiver->feed(ByteView(stream).first(stream.size() - 1)));
  EXPECT_EQ(receiver->name(), "one");
  EXPECT_THAT(names(), UnorderedElementsAre(".one.receiving"));
  EXPECT_TRUE(receiver->discard().value());
  EXPECT_THAT(names(), IsEmpty());
  EXPECT_FALSE(receiver->discard().value());
}

TEST_F(ReceiveTest, StreamsOneAfterAnotherBecomeAsManyVersions) {
  small_versions();
  const Bytes both = joined({send("one"), send("-p one two")});
  auto receiver = Receiver::open(path() / "received");
  ASSERT_TRUE(receiver);
  for (std::size_t at = 0; at < both.size(); at += 1000)
    ASSERT_TRUE(receiver->feed(ByteView(both).subspan(at, std::min(both.size() - at, 1000uz))));
  EXPECT_EQ(receiver->name(), "");
  const auto received = receiver->finish();
  ASSERT_TRUE(received) << received.error().message();
  ASSERT_EQ(received->size(), 2u);
  EXPECT_EQ((*received)[1].parent_uuid, (*received)[0].uuid);
  for (const std::string name : {"one", "two"}) EXPECT_EQ(difference(name, "received/" + name), "");
}

// `btrfs send -e one two`: one header, one end.
TEST_F(ReceiveTest, SeveralSubvolumesOfOneStreamAreEachWhole) {
  small_versions();
  const auto received = receive_all(send("-e one two"), {});
  ASSERT_TRUE(received) << received.error().message();
  EXPECT_EQ(received->size(), 2u);
  for (const std::string name : {"one", "two"}) {
    EXPECT_EQ(difference(name, "received/" + name), "");
    EXPECT_TRUE(info_of("received/" + name).read_only);
    EXPECT_EQ(info_of("received/" + name).received_uuid, info_of(name).uuid);
  }
}

TEST_F(ReceiveTest, WhatWasWholeStaysWhenALaterStreamIsNot) {
  small_versions();
  const Bytes second = send("-p one two");
  for (const Bytes& rest : {Bytes(second.begin(), second.end() - 1), Bytes(5), Bytes(500)}) {
    const auto received = receive_all(joined({send("one"), rest}), {});
    ASSERT_FALSE(received);
    EXPECT_EQ(received.error().code(), ErrorCode::corrupt);
    EXPECT_THAT(names(), UnorderedElementsAre("one"));
    shell("btrfs -q subvolume delete received/one");
  }
}

TEST_F(ReceiveTest, NothingIsTakenThatStandsBehindTheEnd) {
  small_versions();
  const Bytes first = send("one");
  const Bytes both = joined({first, send("-p one two")});
  auto receiver = Receiver::open(path() / "received",
                                 {.policy = {}, .write_encoded = true, .stop_at_end = true});
  ASSERT_TRUE(receiver);
  std::size_t taken = 0;
  while (const std::size_t missing = receiver->missing()) {
    ASSERT_TRUE(receiver->feed(ByteView(both).subspan(taken, missing)));
    taken += missing;
  }
  EXPECT_EQ(taken, first.size());
  EXPECT_EQ(receiver->finish().value().size(), 1u);
  EXPECT_TRUE(receiver->feed(ByteView(both).subspan(taken)));
  EXPECT_THAT(names(), UnorderedElementsAre("one"));
}

TEST_F(ReceiveTest, ParentsElsewhereAreFoundOnlyBelowTheSearchRoot) {
  small_versions();
  const Bytes stream = send("-p one two");
  EXPECT_EQ(receive(stream).error().code(), ErrorCode::not_found);
  const auto received = receive(stream, {.policy = {}, .search_root = path()});
  ASSERT_TRUE(received) << received.error().message();
  EXPECT_EQ(difference("two", "received/two"), "");
  EXPECT_EQ(mount_root_of(path() / "received").value(), path());
  EXPECT_EQ(mount_root_of(path() / "one").value(), path());
  EXPECT_EQ(
      Receiver::open(path() / "received", {.policy = {}, .search_root = "/proc"}).error().code(),
      ErrorCode::invalid_argument);
}

// Errors that somebody asked to be passed over.
class ReceiveErrorsTest : public ReceiveTest {
 protected:
  // Of four commands in the middle, two cannot be applied.
  Bytes faulty() {
    return stream_of({Subvolume{"one", uuid, 1}, MakeFile{"a", InodeNumber(300)}, Unlink{"x"},
                      Unlink{"../y"}, Rename{"a", "b"}, End{}});
  }
  Result<std::vector<Received>> receive_with(const Bytes& stream, std::uint64_t errors_max,
                                             bool stop_at_end) {
    return receive_all(stream, {.policy = {},
                                .write_encoded = true,
                                .stop_at_end = stop_at_end,
                                .errors_max = errors_max});
  }
  const Uuid uuid = Uuid::random();
};

TEST_F(ReceiveErrorsTest, WithAsManyAsAllowedTheStreamHasFailed) {
  for (const std::uint64_t most : {1, 2}) {
    EXPECT_FALSE(receive_with(faulty(), most, true)) << most;
    EXPECT_THAT(names(), IsEmpty()) << most;
  }
}

TEST_F(ReceiveErrorsTest, WithFewerWhatCouldBeHadIsLeftWritable) {
  for (const std::uint64_t most : {3, 0}) {
    const auto received = receive_with(faulty(), most, false);
    ASSERT_FALSE(received) << most;
    EXPECT_THAT(received.error().message(), HasSubstr("2 errors"));
    EXPECT_TRUE(std::filesystem::exists(path() / "received/one/b"));
    EXPECT_FALSE(info_of("received/one").read_only);
    EXPECT_FALSE(info_of("received/one").received_uuid);
    shell("btrfs -q subvolume delete received/one");
  }
}

TEST_F(ReceiveErrorsTest, AtTheEndThatEndsTheInputItIsSealed) {
  const auto received = receive_with(faulty(), 3, true);
  ASSERT_TRUE(received) << received.error().message();
  EXPECT_TRUE(info_of("received/one").read_only);
  EXPECT_EQ(info_of("received/one").received_uuid, uuid);
}

TEST_F(ReceiveErrorsTest, ADamagedCommandIsOne) {
  Bytes stream =
      stream_of({Subvolume{"one", uuid, 1}, MakeFile{"a", InodeNumber(300)},
                 MakeFile{"damaged", InodeNumber(301)}, MakeFile{"c", InodeNumber(302)}, End{}});
  const auto at = as_text(stream).find("damaged");
  stream[at] ^= std::byte{1};
  EXPECT_FALSE(receive_with(stream, 1, true));
  EXPECT_THAT(names(), IsEmpty());
  const auto received = receive_with(stream, 2, true);
  ASSERT_TRUE(received) << received.error().message();
  EXPECT_TRUE(std::filesystem::exists(path() / "received/one/c"));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(path() / "received/one"), {}), 2);
}

// However many are allowed, without these there is nothing that could be kept.
TEST_F(ReceiveErrorsTest, BeginningAndEndAreNotPassedOver) {
  const Bytes no_parent = stream_of({Snapshot{"one", uuid, 1, Uuid::random(), 1}, End{}});
  EXPECT_EQ(receive_with(no_parent, 0, true).error().code(), ErrorCode::not_found);
  EXPECT_FALSE(receive_with(stream_of({Unlink{"x"}, End{}}), 0, true));
  const Bytes whole = faulty();
  EXPECT_FALSE(receive_with(Bytes(whole.begin(), whole.end() - 3), 0, true));
  EXPECT_THAT(names(), IsEmpty());
}

TEST_F(ReceiveTest, AnErrorIsFinal) {
  auto receiver = Receiver::open(path() / "received");
  ASSERT_TRUE(receiver);
  const Status failed = receiver->feed(stream_of({Unlink{"x"}, End{}}));
  ASSERT_FALSE(failed);
  EXPECT_EQ(receiver->feed({}).error().message(), failed.error().message());
  EXPECT_EQ(receiver->finish().error().message(), failed.error().message());
}

TEST_F(ReceiveTest, WhatAKilledReceiverLeftIsReplacedButNotWhatOneIsAtWorkOn) {
  small_versions();
  const Bytes stream = send("one");
  shell("btrfs -q subvolume create received/.one.receiving; echo old >received/.one.receiving/old");
  {
    const unique_fd at_work = open_root("received/.one.receiving");
    ASSERT_EQ(::flock(at_work.get(), LOCK_EX), 0);
    EXPECT_EQ(receive(stream).error().code(), ErrorCode::busy);
    EXPECT_TRUE(std::filesystem::exists(path() / "received/.one.receiving/old"));
  }
  const auto received = receive(stream);
  ASSERT_TRUE(received) << received.error().message();
  EXPECT_THAT(names(), UnorderedElementsAre("one"));
  EXPECT_EQ(difference("one", "received/one"), "");
}

// Immutable files of the parent are changed, removed and left as they are.
TEST_F(ReceiveTest, AParentsImmutableFilesAreNoHindranceAndStaySo) {
  make_subvolume("live");
  shell(R"(cd live
    mkdir directory
    touch changed removed kept thawed directory/file)");
  publish("live", "zero");
  shell("cd live; echo x >changed; chattr +i changed removed kept thawed; chattr +a directory");
  publish("live", "one");
  shell(R"(cd live
    chattr -i changed removed thawed; chattr -a directory
    echo more >>changed
    rm removed directory/file
    chattr +i changed; chattr +a directory)");
  publish("live", "two");
  for (const char* arguments : {"zero", "-p zero one", "-p one two"}) {
    const auto received = receive(send(std::string("--proto 2 ") + arguments));
    ASSERT_TRUE(received) << arguments << ": " << received.error().message();
  }
  EXPECT_EQ(difference("two", "received/two"), "");
  const auto flags = [this](const std::string& version) {
    return harness::shell_checked("cd '" + (path() / version).string() +
                                  "'; find . | sort | xargs lsattr -d")
        .value();
  };
  EXPECT_EQ(flags("received/two"), flags("two"));
  EXPECT_THAT(flags("two"), HasSubstr("-i-"));
  // So that the filesystem can be taken down.
  shell(R"(for tree in live received/one received/two one two; do
      btrfs property set -f $tree ro false; chattr -R -ia $tree; done)");
}

TEST_F(ReceiveTest, APolicyRefusesTheWholeStream) {
  make_subvolume("live");
  shell("mknod live/device c 1 3");
  publish("live", "one");
  const auto refused =
      receive(send("one"), {.policy = {.allow_device_nodes = false}, .write_encoded = true});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::permission_denied);
  EXPECT_THAT(names(), IsEmpty());
}

TEST_F(ReceiveTest, OnlyOnBtrfs) {
  auto elsewhere = harness::TemporaryDirectory::create();
  ASSERT_TRUE(elsewhere);
  const auto btrfs = btrfs::is_btrfs(elsewhere->path());
  if (!btrfs || *btrfs) GTEST_SKIP() << "the temporary directory is on BTRFS";
  EXPECT_EQ(Receiver::open(elsewhere->path()).error().code(), ErrorCode::invalid_argument);
  EXPECT_EQ(Receiver::open(path() / "nowhere").error().code(), ErrorCode::not_found);
}

// Random trees through every kind of stream.
struct Kind {
  const char* name;
  const char* arguments;
};

class ReceiveRandomTrees : public ReceiveTest, public testing::WithParamInterface<Kind> {
 protected:
  harness::LoopBtrfsOptions btrfs_options() const override {
    return {.size_bytes = 4ull << 30, .mkfs_options = {}, .mount_options = "compress=zstd"};
  }
};

TEST_P(ReceiveRandomTrees, AreTheSameTrees) {
  make_subvolume("live");
  harness::RandomTree tree(path() / "live", harness::test_seed());
  SCOPED_TRACE("ICBD_TEST_SEED=" + std::to_string(tree.seed()));
  const int versions = std::getenv("ICBD_LONG") ? 20 : 3;
  for (int version = 0; version < versions; ++version) {
    const Status changed = tree.change(version == 0 ? 80 : 30);
    ASSERT_TRUE(changed) << changed.error().message();
    const std::string name = "v" + std::to_string(version);
    publish("live", name);
    const std::string parent = version == 0 ? "" : "-p v" + std::to_string(version - 1) + " ";
    const auto received = receive(send(GetParam().arguments + std::string(" ") + parent + name));
    ASSERT_TRUE(received) << received.error().message();
    ASSERT_EQ(difference(name, "received/" + name), "");
    ASSERT_EQ(info_of("received/" + name).received_uuid, info_of(name).uuid);
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, ReceiveRandomTrees,
                         testing::Values(Kind{"v1", "--proto 1"}, Kind{"v2", "--proto 2"},
                                         Kind{"compressed", "--proto 2 --compressed-data"}),
                         [](const auto& tested) { return std::string(tested.param.name); });

}  // namespace
}  // namespace icbd::applier
