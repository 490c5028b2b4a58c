// What a version must be compared with before it is called complete.

#include <fcntl.h>
#include <fmt/format.h>

#include "icbd/base/file.h"
#include "icbd/sendstream/decoder.h"
#include "icbd/sendstream/encoder.h"

#include "arrival_fixture.h"

namespace icbd::replicator {
namespace {

// The stream without its command number `left_out`; nothing if it has no such command, or that is
// the first or the last, without which it is no stream.
std::optional<Bytes> without_command(ByteView stream, std::size_t left_out) {
  sendstream::Decoder decoder;
  decoder.feed(stream);
  Bytes edited;
  bool left = false;
  for (std::size_t i = 0;; ++i) {
    const auto command = decoder.next();
    if (!command || !*command) break;
    if (i == 0) edited = sendstream::encode_header(decoder.version());
    if (i == left_out && i != 0 && !std::holds_alternative<sendstream::End>(**command)) {
      left = true;
      continue;
    }
    const auto bytes = sendstream::encode(**command, decoder.version());
    if (!bytes) return std::nullopt;
    edited.insert(edited.end(), bytes->begin(), bytes->end());
  }
  if (!left) return std::nullopt;
  return edited;
}

constexpr const char* first_version = R"(
    mkdir directory gone; echo 1 > directory/file; echo 2 > renamed; echo 3 > removed
    echo 4 > mode; echo 5 > owner; echo 6 > attribute; echo 7 > linked
    head -c 300K /dev/urandom > data
    head -c 300K /dev/urandom > cut; ln -s old link; setfattr -n user.old -v 1 attribute
)";
constexpr const char* second_version = R"(
    mv renamed directory/moved; rm removed; rmdir gone; mkdir new; echo new > new/file
    chmod 750 mode; chown 12:34 owner; setfattr -n user.new -v 2 attribute
    setfattr -x user.old attribute; ln linked hard; ln -sf new link; mkfifo fifo; mknod null c 1 3
    truncate -s 100K cut; printf change | dd of=data bs=1 seek=140000 conv=notrunc status=none
    cp --reflink=always data copy; touch -d @1000000000 directory/file; chmod u+s mode
)";

// Every command of a shape is left out once. The version must arrive as the master has it, or not
// at all: the shape only saves work, the manifest says what is right.
TEST_F(ArrivalTest, AShapeWithoutOneOfItsCommandsNeverMakesAnotherVersion) {
  publish(first_version);
  publish(second_version);
  start();
  ASSERT_TRUE(let_arrive(1));
  std::size_t left_out = 1;
  bool ended = false;
  source_->rewrite_shape = [&](const source::ShapeBegin& begin, ByteView stream) {
    Bytes same(stream.begin(), stream.end());
    if (!begin.parent) return same;  // asked for when the other one does not fit
    auto edited = without_command(stream, left_out);
    ended = !edited;
    return edited.value_or(same);
  };
  for (; !ended; ++left_out) {
    SCOPED_TRACE(fmt::format("without command {}", left_out));
    ASSERT_TRUE(let_arrive(2));
    expect_landed_equal(2);
    // Away with it, for the next attempt.
    replicator_.reset();
    const auto version = cache_->catalog().version("image", VersionNumber(2));
    ASSERT_DONE(version);
    ASSERT_DONE(harness::run_checked({"btrfs", "subvolume", "delete",
                                      cache_->version_path("image", VersionNumber(2)).string()}));
    ASSERT_DONE(cache_->catalog().set_state(version->serial, catalog::VersionState::remote));
    ASSERT_DONE(cache_->discard_arrival(*version));
    start();
  }
  EXPECT_GT(left_out, 30u);
}

TEST_F(ArrivalTest, AVersionWhoseShapesNeverFitIsRefusedWithTheReason) {
  publish("ln -s target link; ln -s target other");
  source_->rewrite_shape = [](const source::ShapeBegin&, ByteView stream) {
    // Without the first MKFILE or SYMLINK, which is followed by the renaming of what it made.
    return without_command(stream, 3).value_or(Bytes());
  };
  start();
  const auto version = open(1);
  ASSERT_FALSE(version.has_value());
  const auto refusals = replicator_->refusals();
  ASSERT_EQ(refusals.size(), 1u);
  EXPECT_EQ(refusals.front().error.message(), version.error().message());
  EXPECT_EQ(replicator_->obstacle(serial(1)), version.error().message());
  EXPECT_FALSE(std::filesystem::exists(cache_->staging_path("image", VersionNumber(1))));
  EXPECT_EQ(replicator_->find(serial(1))->state, catalog::VersionState::remote);

  source_->rewrite_shape = nullptr;
  ASSERT_DONE(open(1));
  EXPECT_TRUE(replicator_->refusals().empty());
  EXPECT_EQ(replicator_->obstacle(serial(1)), "");
}

// Writes into the staging subvolume behind the replicator's back.
void damage(const std::filesystem::path& file, std::uint64_t offset) {
  const auto fd = open_file(file, O_RDWR);
  ASSERT_DONE(fd);
  ASSERT_DONE(write_at(fd->get(), as_bytes("damage"), offset));
}

TEST_F(ArrivalTest, AChunkThatWasDamagedAfterItWasVerifiedIsFoundAtLandingAndFetchedAgain) {
  publish("head -c 2M /dev/urandom > disk");
  start();
  const auto version = open(1);
  ASSERT_DONE(version);
  ASSERT_DONE(read(**version, "disk", {0, 1'000'000}).get());
  damage(cache_->staging_path("image", VersionNumber(1)) / "disk", 500'000);
  replicator_->want((*version)->version.serial);
  wait_until_complete(1);
  expect_landed_equal(1);
}

TEST_F(ArrivalTest, AnInheritedChunkThatIsNotTheParentsAnyMoreIsFoundAtLanding) {
  publish("head -c 2M /dev/urandom > disk; head -c 100 /dev/urandom > small");
  publish("printf change | dd of=disk bs=1 seek=1500000 conv=notrunc status=none");
  start();
  ASSERT_TRUE(let_arrive(1));
  const auto version = open(2);
  ASSERT_DONE(version);
  damage(cache_->staging_path("image", VersionNumber(2)) / "disk", 10);
  damage(cache_->staging_path("image", VersionNumber(2)) / "small", 10);
  replicator_->want((*version)->version.serial);
  wait_until_complete(2);
  expect_landed_equal(2);
}

// A sector that the disk no longer gives: what lies there has another checksum.
void make_unreadable(const std::filesystem::path& file, std::uint64_t offset) {
  const auto done = harness::shell_checked(fmt::format(
      R"(sync -f '{0}'
      block=$(filefrag -v -b4096 '{0}' | tr -d .: | awk -v at={1} \
        '$1 ~ /^[0-9]+$/ && at >= $2 && at <= $3 {{ print $4 + at - $2; exit }}')
      device=$(findmnt -n -o SOURCE -T '{0}')
      at=$(btrfs-map-logical -l $((block * 4096)) "$device" |
        sed -n 's/.*physical \([0-9]*\) .*/\1/p')
      head -c 4096 /dev/urandom | dd of="$device" oflag=direct,seek_bytes seek="$at" conv=notrunc \
        bs=4096 iflag=fullblock status=none
      dd if='{0}' iflag=nocache count=0 status=none
      ! dd if='{0}' of=/dev/null bs=4096 skip={1} count=1 status=none 2>&1)",
      file.string(), offset / 4096));
  ASSERT_TRUE(done) << done.error().message();
}

TEST_F(ArrivalTest, AChunkWhoseRestCannotBeReadHereIsFetchedWhole) {
  publish("head -c 4M /dev/urandom > disk");
  start();
  ASSERT_TRUE(let_arrive(1));
  publish("printf change | dd of=disk bs=1 seek=1000000 conv=notrunc status=none");
  make_unreadable(cache_->version_path("image", VersionNumber(1)) / "disk", 950'272);
  const auto arrival = let_arrive(2);
  ASSERT_TRUE(arrival);
  EXPECT_GE(arrival->progress().bytes_fetched, limits::chunk_size);
  expect_landed_equal(2);
}

TEST_F(ArrivalTest, AnEqualChunkThatCannotBeReadHereIsFetched) {
  publish("head -c 4M /dev/urandom > disk");
  start();
  ASSERT_TRUE(let_arrive(1));
  publish("cp --reflink=never disk new; rm disk; echo more >> new");
  make_unreadable(cache_->version_path("image", VersionNumber(1)) / "disk", 950'272);
  ASSERT_TRUE(let_arrive(2));
  expect_landed_equal(2);
}

TEST_F(ArrivalTest, MetadataThatTheShapeLeftWrongIsMendedAtLanding) {
  publish("echo 1 > file; mkdir directory");
  start();
  const auto version = open(1);
  ASSERT_DONE(version);
  const auto staging = cache_->staging_path("image", VersionNumber(1));
  ASSERT_DONE(harness::shell_checked(
      "cd '" + staging.string() +
      "'; chmod 777 file; chown 7:8 directory; setfattr -n user.foreign -v 1 file; "
      "chattr +d file; chattr +i directory"));
  replicator_->want((*version)->version.serial);
  wait_until_complete(1);
  expect_landed_equal(1);
}

}  // namespace
}  // namespace icbd::replicator
