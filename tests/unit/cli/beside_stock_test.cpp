// `icbd receive` and `icbd send` beside `btrfs receive` and `btrfs send`: the same streams, options
// and places; the same exit codes and results.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gmock/gmock.h>

#include <map>
#include <memory>
#include <set>
#include <sstream>

#include "harness/loop_btrfs.h"
#include "harness/run.h"
#include "harness/tree.h"

namespace icbd::cli {
namespace {

using ::testing::IsEmpty;
using ::testing::Not;

// One filesystem with versions and their streams, one for each of the two receivers.
class BesideStock : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (!harness::is_root()) return;
    for (std::unique_ptr<harness::LoopBtrfs>* filesystem : {&source_, &stock_, &ours_}) {
      auto made = harness::LoopBtrfs::create(
          {.size_bytes = 1u << 30, .mkfs_options = {}, .mount_options = "compress=zstd"});
      ASSERT_TRUE(made) << made.error().message();
      *filesystem = std::move(*made);
    }
    const auto written =
        harness::shell_checked("cd '" + source_->path().string() + "'\n" + versions);
    ASSERT_TRUE(written) << written.error().message();
  }
  static void TearDownTestSuite() {
    for (std::unique_ptr<harness::LoopBtrfs>* filesystem : {&ours_, &stock_, &source_})
      filesystem->reset();
  }
  void SetUp() override {
    ICBD_SKIP_UNLESS_ROOT();
    ASSERT_TRUE(ours_) << "the filesystems could not be made";
  }
  void TearDown() override {
    if (ours_) clear();
  }
  static void clear() {
    for (const auto& place : {stock_->path(), ours_->path()})
      static_cast<void>(harness::shell("cd '" + place.string() + R"('
        for subvolume in dir/*; do btrfs property set -f "$subvolume" ro false || true; done
        btrfs -q subvolume delete dir/* || true
        rm -rf dir)"));
  }

  // What a version is made of that two receivers might do differently.
  static constexpr const char* versions = R"(
    btrfs -q subvolume create live; cd live
    seq 200000 >text; head -c 700000 /dev/urandom >noise; truncate -s 1M sparse
    echo here | dd of=sparse bs=1 seek=500000 conv=notrunc status=none
    mkdir -p deep/er; cp --reflink=never text deep/er/copy; ln text deep/hard
    ln -s ../text deep/soft
    mkfifo pipe; mknod null c 1 3; chown 1:2 noise; chmod 4751 noise; touch 'a name with spaces'
    setfattr -n user.note -v value text; setfattr -n security.label -v secret noise
    ln 'a name with spaces' 'another name'; ln -s 'a target\with odds' 'odd link'
    setfattr -n 'user.odd name' -v 'an odd\\value' noise; cp --reflink=never noise 'noise 2'
    touch -d 2001-02-03 deep/er
    cd ..; btrfs -q subvolume snapshot -r live one
    cd live; seq 5 >>text; rm deep/hard; mv deep/er deep/moved
    fallocate -p -o 65536 -l 65536 noise; cp --reflink=always 'noise 2' 'noise 3'
    cp --reflink=always noise reflinked; truncate -s 300000 sparse; chmod 600 noise
    cd ..; btrfs -q subvolume snapshot -r live two
    cd live; cp --reflink=always ../one/noise from-one; cp --reflink=always text from-live
    cd ..; btrfs -q subvolume snapshot -r live three
    btrfs -q send -f one.v1 one; btrfs -q send --proto 2 -f one.v2 one
    btrfs -q send -p one -f two.v1 two; btrfs -q send --proto 2 -p one -f two.v2 two
    btrfs -q send -p two -c one -f three.clones three
    btrfs -q send --compressed-data -f one.compressed one
    btrfs -q send --compressed-data -p one -f two.compressed two
    btrfs -q send --no-data -f one.no-data one; btrfs -q send --no-data -p one -f two.no-data two
    btrfs -q send -e -f all.together one two three
    cat one.v1 two.v2 >one.two; head -c 400000 one.v1 >one.cut; head -c 10 one.v1 >one.header-cut
    (cat one.v1; head -c 300000 two.v2) >one.two-cut; (cat one.v1; seq 100) >one.garbage
    seq 1000 >garbage; : >empty
    cp one.v1 one.damaged; printf X | dd of=one.damaged bs=1 seek=600000 conv=notrunc status=none
    (cat one.damaged two.v1) >one.damaged.two
    for codec in zstd lz4 gzip; do $codec -q -c <one.v1 >one.$codec; done
  )";

  struct Outcome {
    int exit_code = 0;
    std::string output;
    std::map<std::string, std::string> versions;  // name -> "ro UUID" of those with a name
  };

  // $R is the receiver, $S where the streams are, in a directory "dir".
  static Outcome run(const std::string& receiver, const harness::LoopBtrfs& place,
                     const std::string& script) {
    const std::string environment =
        fmt::format("cd '{}'; mkdir dir; S='{}'; R='{}'\n", place.path().string(),
                    source_->path().string(), receiver);
    const auto result = harness::run({"sh", "-c", environment + script});
    EXPECT_TRUE(result);
    Outcome outcome{.exit_code = result->exit_code, .output = result->output, .versions = {}};
    for (const auto& entry : std::filesystem::directory_iterator(place.path() / "dir")) {
      const auto shown = harness::shell_checked(
          fmt::format("btrfs subvolume show '{}' | sed -n 's/.*\\(Flags\\|Received UUID\\): *//p' "
                      "| tr '\\n\\t' '  '",
                      entry.path().string()));
      EXPECT_TRUE(shown) << shown.error().message();
      outcome.versions[entry.path().filename()] = *shown;
    }
    return outcome;
  }
  static Outcome stock(const std::string& script) { return run("btrfs receive", *stock_, script); }
  static Outcome ours(const std::string& script) {
    return run(ICBD_PROGRAM " receive", *ours_, script);
  }

  // Of two received versions. The stock tool leaves the root with the time of its last change, and
  // what the sender saw is the other one.
  static std::string difference(const std::string& name) {
    auto expected = harness::describe_tree(stock_->path() / "dir" / name);
    auto actual = harness::describe_tree(ours_->path() / "dir" / name);
    if (!expected || !actual) return "one of them cannot be read";
    (*expected)[""].modified = (*actual)[""].modified = {};
    return harness::diff_trees(*expected, *actual);
  }

  static inline std::unique_ptr<harness::LoopBtrfs> source_, stock_, ours_;
};

struct Case {
  const char* script;
  // Half a version has no name here; the stock tool leaves it under the one it would have.
  bool leaves_half = false;
};

constexpr Case receive_cases[] = {
    {"$R <$S/one.v1 dir"},
    {"$R dir <$S/one.v2"},
    {"$R dir <$S/one.v1 && $R dir <$S/two.v1"},
    {"$R dir <$S/one.v2 && $R dir <$S/two.v2"},
    {"$R dir <$S/one.v1 && $R dir <$S/two.v1 && $R dir <$S/three.clones"},
    {"$R dir <$S/one.compressed && $R dir <$S/two.compressed"},
    {"$R --force-decompress dir <$S/one.compressed"},
    {"$R dir <$S/one.no-data"},
    {"$R dir <$S/one.no-data && $R dir <$S/two.no-data", true},
    {"$R -f $S/one.v1 dir"},
    {"cat $S/one.v1 | $R dir"},
    {"$R -q dir <$S/one.v1"},
    {"$R -v dir <$S/one.v1"},
    {"$R -vv dir <$S/one.v1"},
    {"$R -C dir <$S/one.v1"},
    {"$R --chroot dir <$S/one.v1"},
    {"$R -m $PWD $PWD/dir <$S/one.v1 && $R -m $PWD $PWD/dir <$S/two.v1"},
    {"mkdir other && $R other <$S/one.v1 && $R dir <$S/two.v1; code=$?; "
     "btrfs -q subvolume delete other/one; rmdir other; exit $code"},
    {"$R dir <$S/one.two"},
    {"cat $S/one.two | $R dir"},
    {"$R -e dir <$S/one.two"},
    {"{ $R -e dir && $R -e dir; } <$S/one.two"},
    {"cat $S/one.two | { $R -e dir && $R -e dir; }"},
    {"{ $R -e dir && $R -e dir && $R -e dir; } <$S/one.two"},
    {"$R dir <$S/all.together"},
    {"$R -e dir <$S/all.together"},
    {"$R dir <$S/one.two-cut", true},
    {"$R -e dir <$S/one.two-cut"},
    {"$R dir <$S/one.garbage"},
    {"$R -e dir <$S/one.garbage"},
    {"$R dir <$S/garbage"},
    {"$R dir <$S/empty"},
    {"$R -e dir <$S/empty"},
    {"$R dir <$S/one.header-cut"},
    {"$R dir <$S/one.cut", true},
    {"$R -e dir <$S/one.cut", true},
    {"$R -e -E 5 dir <$S/one.cut", true},
    {"$R dir <$S/one.damaged", true},
    {"$R -E 1 dir <$S/one.damaged", true},
    {"$R -E 2 dir <$S/one.damaged"},
    {"$R --max-errors=2 dir <$S/one.damaged"},
    {"$R -E 0 dir <$S/one.damaged"},
    {"$R -e -E 2 dir <$S/one.damaged"},
    {"$R -e -E 0 dir <$S/one.damaged"},
    {"$R -E 2 dir <$S/one.damaged.two"},
    {"$R dir <$S/two.v1"},
    {"$R -E 3 dir <$S/two.v1"},
    {"$R dir <$S/one.v1 && $R dir <$S/three.clones"},
    {"$R dir <$S/one.v1 && $R dir <$S/one.v1"},
    {"$R nowhere <$S/one.v1"},
    {"$R /proc <$S/one.v1"},
    {"$R <$S/one.v1"},
    {"$R dir dir <$S/one.v1"},
    {"$R --no-such-option dir <$S/one.v1"},
    {"$R --dump <$S/one.v1"},
    {"$R --dump -f $S/one.v2"},
    {"$R --dump dir <$S/one.v1"},
    {"$R --dump <$S/garbage"},
    {"$R --dump <$S/one.damaged"},
    {"$R --help"},
};

// One test for all, because each would need its own filesystems.
TEST_F(BesideStock, ReceivesWithTheSameExitCodeAndResult) {
  int done = 0;
  for (const Case& tested : receive_cases) {
    SCOPED_TRACE(tested.script);
    Outcome expected = stock(tested.script);
    const Outcome actual = ours(tested.script);
    EXPECT_EQ(actual.exit_code, expected.exit_code)
        << "stock: " << expected.output << "\nours: " << actual.output;
    if (tested.leaves_half)
      std::erase_if(expected.versions,
                    [&](const auto& version) { return !actual.versions.contains(version.first); });
    EXPECT_EQ(actual.versions, expected.versions);
    for (const auto& [name, facts] : actual.versions) EXPECT_EQ(difference(name), "") << name;
    if (actual.exit_code == 0 && !actual.versions.empty()) ++done;
    clear();
  }
  EXPECT_GE(done, 25) << "most of them are meant to succeed";
}

TEST_F(BesideStock, ReceivesDifferentlyWhereItIsMeantTo) {
  // A file that is not there is a failure.
  EXPECT_EQ(stock("$R -f nowhere dir").exit_code, 0);
  clear();
  EXPECT_EQ(ours("$R -f nowhere dir").exit_code, 1);
  clear();
  // Packed streams are unpacked.
  for (const std::string codec : {"zstd", "lz4", "gzip"}) {
    stock("$R dir <$S/one.v1");
    const Outcome received = ours("cat $S/one." + codec + " | $R dir");
    EXPECT_EQ(received.exit_code, 0) << received.output;
    EXPECT_EQ(difference("one"), "") << codec;
    clear();
  }
}

// Scripts read it.
TEST_F(BesideStock, DumpsTheSameLines) {
  for (const std::string name : {"one.v1", "two.v1", "one.v2", "two.v2", "three.clones",
                                 "one.compressed", "one.no-data", "one.damaged"}) {
    SCOPED_TRACE(name);
    const auto lines = [](const std::string& said) {
      std::string kept;
      std::istringstream text(said);
      for (std::string line; std::getline(text, line);)
        if (!line.starts_with("ERROR") && !line.starts_with("icbd")) kept += line + "\n";
      return kept;
    };
    const auto expected = lines(stock("$R --dump <$S/" + name).output);
    clear();
    const auto actual = lines(ours("$R --dump <$S/" + name).output);
    clear();
    EXPECT_GT(expected.size(), 1000u);
    EXPECT_EQ(actual, expected);
  }
}

// The kernel's stream is the same, whoever asks for it.
TEST_F(BesideStock, SendsTheSameBytes) {
  for (const std::string what :
       {"./one", "--proto 2 ./one", "--proto 0 ./one", "-p ./one ./two",
        "-p ./two -c ./one ./three", "--compressed-data ./one", "--no-data -p ./one ./two"}) {
    std::set<std::string> streams;
    for (const std::string program : {"btrfs send -q ", ICBD_PROGRAM " send -q "}) {
      const std::string send = program + what;
      for (const std::string& how :
           {program + "-f out " + what, send + " >out", send + " | cat >out"}) {
        const auto sent = harness::run(
            {"bash", "-o", "pipefail", "-c", "cd '" + source_->path().string() + "'; " + how});
        ASSERT_TRUE(sent);
        EXPECT_EQ(sent->exit_code, 0) << how << ": " << sent->output;
        streams.insert(harness::hash_file(source_->path() / "out").value());
      }
    }
    EXPECT_EQ(streams.size(), 1u) << what;
  }
}

// A filesystem of 1 MiB does not take it.
TEST_F(BesideStock, ASendToAFullDiskSaysSoAndLeavesNothing) {
  const auto done = harness::shell_checked(fmt::format(R"sh(
    folder=$(mktemp -d)
    trap 'umount "$folder"; rmdir "$folder"' EXIT
    mount -t tmpfs -o size=1m none "$folder"
    cd '{}'
    ! '{}' send -f "$folder/out" ./one >said 2>&1
    grep -q 'No space left' said
    test -z "$(ls -A "$folder")")sh",
                                                       source_->path().string(), ICBD_PROGRAM));
  EXPECT_TRUE(done) << done.error().message();
}

TEST_F(BesideStock, SendsOnlyWhatIsReadOnly) {
  const auto writable =
      harness::run({ICBD_PROGRAM, "send", "-f", "/dev/null", (source_->path() / "live").string()});
  EXPECT_EQ(writable->exit_code, 1) << writable->output;
  const auto missing = harness::run({ICBD_PROGRAM, "send", "-f", "/dev/null", "/no/where"});
  EXPECT_EQ(missing->exit_code, 4) << missing->output;
  EXPECT_THAT(missing->output, Not(IsEmpty()));
}

}  // namespace
}  // namespace icbd::cli
