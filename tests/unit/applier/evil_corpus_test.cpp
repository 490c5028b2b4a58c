// Streams that were made to do harm, and real ones with commands removed, repeated, swapped and
// damaged: each is refused with a clear error or stays inside, and nothing outside is touched.
#include "evil_corpus.h"

#include <gmock/gmock.h>

#include <cstdlib>
#include <cstring>
#include <random>

#include "icbd/btrfs/subvolume.h"
#include "icbd/sendstream/decoder.h"
#include "icbd/sendstream/dump.h"
#include "icbd/sendstream/encoder.h"

#include "applier_fixture.h"
#include "outside.h"
#include "wire.h"

namespace icbd::applier {
namespace {

using testing::HasSubstr;

class EvilCorpus : public ApplierTest {
 protected:
  void SetUp() override {
    ApplierTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    shell(R"(mkdir outside
      echo precious >outside/file
      setfattr -n user.precious -v yes outside/file
      mkdir outside/directory
      ln outside/file outside/directory/second-name
      btrfs -q subvolume create parent
      head -c 8192 /dev/urandom >parent/file
      ln -s ../outside/file parent/link
      btrfs -q subvolume create foreign
      echo foreign >foreign/file)");
    publish("parent", "parent-snapshot");
  }

  Outside outside() const {
    return Outside(
        {path() / "outside", path() / "parent", path() / "parent-snapshot", path() / "foreign"});
  }
  Uuid uuid_of(const std::string& name) {
    const unique_fd root = open_root(name);
    const auto info = btrfs::subvolume_info(root.get());
    EXPECT_TRUE(info) << info.error().message();
    return info ? info->uuid : Uuid{};
  }
  // Applies it to a new subvolume, or to a snapshot of `parent`; takes that away again.
  Status apply_evil(ByteView stream, const std::string& parent = "") {
    parent.empty() ? make_subvolume("tree") : stage(parent, "tree");
    const Status status = apply_stream(stream, "tree");
    const Status deleted = btrfs::delete_subvolume(path() / "tree");
    EXPECT_TRUE(deleted) << deleted.error().message();
    return status;
  }
};

TEST_F(EvilCorpus, EachIsRefusedWithTheReasonAndNothingOutsideIsTouched) {
  const Target target{.outside_file = (path() / "outside/file").string(),
                      .own = Uuid::random(),
                      .parent = uuid_of("parent-snapshot"),
                      .foreign = uuid_of("foreign")};
  const Outside before = outside();
  ASSERT_GT(before.size(), 8u);
  const std::vector<EvilStream> corpus = evil_corpus(target);
  EXPECT_GT(corpus.size(), 100u);
  for (const EvilStream& evil : corpus) {
    SCOPED_TRACE(evil.name);
    const Status status = apply_evil(evil.stream);
    ASSERT_FALSE(status);
    EXPECT_THAT(status.error().message(), HasSubstr(evil.reason));
    ASSERT_EQ(before.difference(outside()), "");
  }
}

// The check itself: what it must see, it sees.
TEST_F(EvilCorpus, TheLeastChangeOutsideWouldBeSeen) {
  for (const char* change :
       {"printf X | dd of=outside/file conv=notrunc status=none", "touch outside/directory/new",
        "ln outside/file foreign-link", "setfattr -n user.evil -v x outside/directory",
        "chmod 4755 foreign/file", "chown 1 parent/file"}) {
    const Outside before = outside();
    shell(change);
    EXPECT_NE(before.difference(outside()), "") << change;
  }
}

// A real stream, taken apart into its commands.
class DamagedStreams : public EvilCorpus {
 protected:
  void SetUp() override {
    EvilCorpus::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    shell(R"(btrfs -q subvolume create live
      cd live
      mkdir -p directory/below etc
      head -c 20000 /dev/urandom >directory/below/file
      head -c 70000 /dev/urandom >disk
      echo small >small
      ln small hard-link
      ln -s ../small directory/link
      mkfifo fifo
      mknod device c 1 3
      setfattr -n user.comment -v first small)");
    publish("live", "live-one");
    shell(R"(cd live
      mv directory moved
      mkdir directory
      mv moved/below directory/below
      dd if=/dev/urandom of=disk bs=4096 seek=2 count=3 conv=notrunc status=none
      fallocate -p -o 40960 -l 8192 disk
      cp --reflink=always disk copy
      truncate -s 5000 directory/below/file
      rm hard-link fifo
      ln small etc/second-name
      setfattr -n user.comment -v second small
      setfattr -n user.added -v x moved
      chown 1000:1000 disk; chmod 4711 disk
      chattr +d small
      ln -s /etc/passwd etc/absolute)");
    publish("live", "live-two");
    watched = std::make_unique<Outside>(outside());
  }

  void take_apart(const std::string& arguments) {
    const Bytes stream = send(arguments);
    header.assign(stream.begin(), stream.begin() + sendstream::wire::stream_header_size);
    commands.clear();
    for (ByteView rest = ByteView(stream).subspan(header.size()); !rest.empty();) {
      const std::size_t size =
          sendstream::wire::command_header_size + ByteReader(rest).read<std::uint32_t>();
      commands.emplace_back(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(size));
      rest = rest.subspan(size);
    }
    ASSERT_GT(commands.size(), 30u);
  }

  // These commands, in this order: refused, or inside.
  void expect_harmless(const std::vector<Bytes>& pieces, const std::string& parent) {
    Bytes stream = header;
    for (const Bytes& piece : pieces) stream.insert(stream.end(), piece.begin(), piece.end());
    const Status status = apply_evil(stream, parent);
    ++(status ? accepted : refused);
    if (!status) {
      EXPECT_NE(status.error().message(), "");
      EXPECT_NE(status.error().code(), ErrorCode::internal) << status.error().message();
    }
    ASSERT_EQ(watched->difference(outside()), "");
  }

  void expect_systematic_damage_to_be_harmless(const std::string& parent) {
    for (std::size_t i = 0; i < commands.size(); ++i) {
      SCOPED_TRACE("command " + std::to_string(i));
      std::vector<Bytes> without = commands, repeated = commands, swapped = commands;
      const auto at = static_cast<std::ptrdiff_t>(i);
      without.erase(without.begin() + at);
      repeated.insert(repeated.begin() + at, commands[i]);
      ASSERT_NO_FATAL_FAILURE(expect_harmless(without, parent)) << "removed";
      ASSERT_NO_FATAL_FAILURE(expect_harmless(repeated, parent)) << "repeated";
      if (i + 1 == commands.size()) break;
      std::swap(swapped[i], swapped[i + 1]);
      ASSERT_NO_FATAL_FAILURE(expect_harmless(swapped, parent)) << "swapped with the next";
    }
    // Without its beginning, its end or a mkfile a stream is refused; without a chmod it is not:
    // that is for the manifest to find.
    EXPECT_GT(refused, 30);
    EXPECT_GT(accepted, 30);
  }

  // One to three random bytes of a command, under a checksum that is right.
  static void damage(Bytes& command, std::mt19937_64& random) {
    using namespace sendstream::wire;
    if (command.size() == command_header_size) return;
    for (std::uint64_t bytes = 1 + random() % 3; bytes > 0; --bytes) {
      // Names and numbers are in front, data behind.
      const std::size_t reach = std::min<std::size_t>(command.size() - command_header_size, 100);
      command[command_header_size + random() % reach] = static_cast<std::byte>(random());
    }
    const std::uint32_t right = checksum(command);
    std::memcpy(command.data() + command_header_size - sizeof right, &right, sizeof right);
  }

  Bytes header;
  std::vector<Bytes> commands;
  std::unique_ptr<Outside> watched;
  int accepted = 0, refused = 0;
};

TEST_F(DamagedStreams, AFullStreamWithACommandRemovedRepeatedOrSwapped) {
  take_apart("--proto 2 live-two");
  expect_systematic_damage_to_be_harmless("");
}

TEST_F(DamagedStreams, AnIncrementalStreamWithACommandRemovedRepeatedOrSwapped) {
  take_apart("--proto 2 -p live-one live-two");
  expect_systematic_damage_to_be_harmless("live-one");
}

TEST_F(DamagedStreams, RandomBytesUnderRightChecksums) {
  const char* given = std::getenv("ICBD_TEST_SEED");
  const std::uint64_t seed = given ? std::stoull(given) : std::random_device{}();
  SCOPED_TRACE("ICBD_TEST_SEED=" + std::to_string(seed));
  std::mt19937_64 random(seed);
  const int rounds = std::getenv("ICBD_LONG") ? 5000 : 150;
  take_apart("--proto 2 -p live-one live-two");
  for (int round = 0; round < rounds; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    std::vector<Bytes> damaged = commands;
    damage(damaged[random() % damaged.size()], random);
    if (random() % 2 == 0) damage(damaged[random() % damaged.size()], random);
    ASSERT_NO_FATAL_FAILURE(expect_harmless(damaged, "live-one"));
  }
  EXPECT_GT(refused, rounds / 4);
}

}  // namespace
}  // namespace icbd::applier
