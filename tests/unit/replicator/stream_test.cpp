// Arrivals whose bytes come as the master's send stream.

#include "icbd/btrfs/subvolume.h"
#include "icbd/sendstream/decoder.h"
#include "icbd/sendstream/encoder.h"

#include "arrival_fixture.h"

namespace icbd::replicator {
namespace {

using testing::HasSubstr;

class StreamTest : public ArrivalTest {
 protected:
  void start_with_streams(ReplicatorOptions options = {}) {
    options.transfer = TransferMode::stream;
    start(options);
  }
  // Fills a version; what is known of its transfer afterwards.
  ArrivalProgress arrive(std::uint32_t number) {
    const auto arrival = let_arrive(number);
    EXPECT_TRUE(arrival);
    expect_landed_equal(number);
    return arrival ? arrival->progress() : ArrivalProgress{};
  }
};

constexpr const char* some_files = R"(
    mkdir -p a/b; for i in $(seq 300); do head -c $((i * 37)) /dev/urandom > a/b/f$i; done
    head -c 3M /dev/urandom > disk; ln a/b/f5 hard; ln -s disk soft; touch empty
    head -c 200K /dev/urandom > holes; truncate -s 5M holes; printf end >> holes
)";
constexpr const char* other_files = R"(
    echo changed > a/b/f7; rm a/b/f9; mv a/b/f11 a/b/g11; head -c 5000 /dev/urandom > a/b/new
    head -c 9000 /dev/urandom | dd of=disk bs=4096 seek=99 conv=notrunc status=none
    printf middle | dd of=holes bs=1 seek=3000000 conv=notrunc status=none; echo x >> hard
    truncate -s 1M disk
)";

TEST_F(StreamTest, BringsEverythingThatIsMissingByItself) {
  publish(some_files);
  publish(other_files);
  start_with_streams();
  const ArrivalProgress full = arrive(1);
  EXPECT_EQ(full.transfer, Transfer::stream);
  EXPECT_THAT(full.transfer_why, HasSubstr("asked for"));
  arrive(2);
  EXPECT_EQ(source_->streams_asked, 2);
  EXPECT_EQ(source_->extents_served, 0);
}

TEST_F(StreamTest, UnpacksExtentsThatAreCompressedOnTheMaster) {
  ASSERT_DONE(harness::run_checked(
      {"btrfs", "property", "set", (path() / "live").string(), "compression", "zstd"}));
  publish("for i in 1 2 3; do yes $i | head -c 700K > f$i; done; sync -f .");
  start_with_streams();
  arrive(1);
  EXPECT_EQ(source_->streams_asked, 1);
  EXPECT_EQ(source_->extents_served, 0);
}

TEST_F(StreamTest, WhatIsUnderAnotherNameWhileItStreamsComesAsExtents) {
  // The directory is younger than the file, and is sent under a name of its own before it has its.
  publish(
      "head -c 300K /dev/urandom > file; mkdir young; mv file young/moved; mkdir old; mv young "
      "old");
  publish(
      "mv old/young renamed; head -c 300K /dev/urandom > renamed/moved; mv renamed again; "
      "mv again/moved again/more");
  start_with_streams();
  arrive(1);
  arrive(2);
}

TEST_F(StreamTest, AReaderIsAnsweredWhileItIsStuck) {
  publish(some_files);
  std::promise<void> go_on;
  const auto waits = go_on.get_future().share();
  source_->on_stream = [&](std::uint64_t) -> Status {
    waits.wait();
    return {};
  };
  start_with_streams();
  const auto version = open(1);
  ASSERT_DONE(version);
  replicator_->want((*version)->version.serial);
  wait_until([&] { return source_->streams_asked == 1; }, "no stream is asked for");
  const auto bytes = read(**version, "disk", {1'000'000, 100}).get();
  ASSERT_DONE(bytes);
  EXPECT_EQ(bytes->size(), 100u);
  EXPECT_FALSE(is_complete(1));
  go_on.set_value();
  wait_until_complete(1);
  expect_landed_equal(1);
}

TEST_F(StreamTest, WhenItBreaksTheRestComesAsExtentsAndNothingTwice) {
  publish("head -c 8M /dev/urandom > disk");
  source_->on_stream = [](std::uint64_t sent) -> Status {
    if (sent < 4'000'000) return {};
    return fail(ErrorCode::unavailable, "cut");
  };
  start_with_streams();
  const ArrivalProgress progress = arrive(1);
  EXPECT_EQ(progress.transfer, Transfer::extents);
  EXPECT_THAT(progress.transfer_why, HasSubstr("cut"));
  EXPECT_EQ(source_->streams_asked, 1);
  EXPECT_GT(source_->extents_served, 10);
  EXPECT_LT(source_->extents_served, 50) << "of 64 chunks, half had come";
}

TEST_F(StreamTest, WhatASourceCannotStreamComesAsExtents) {
  publish(some_files);
  source_->stream_fails = Error(ErrorCode::not_found, "that parent is gone");
  start_with_streams();
  const ArrivalProgress progress = arrive(1);
  EXPECT_EQ(progress.transfer, Transfer::extents);
  EXPECT_THAT(progress.transfer_why, HasSubstr("that parent is gone"));
}

// A stream that is whole and says something else: checksums of its commands prove nothing.
TEST_F(StreamTest, BytesThatAreNotTheManifestsAreNeitherServedNorStored) {
  publish("for i in 1 2 3 4; do head -c 100K /dev/urandom > f$i; done");
  sendstream::Decoder decoder;
  int writes = 0;
  source_->damage_stream = [&](Bytes& piece) {
    decoder.feed(piece);
    piece.clear();
    while (true) {
      auto command = decoder.next();
      ASSERT_DONE(command);
      if (!*command) return;
      if (decoder.position() > 0 && writes == 0 &&
          std::holds_alternative<sendstream::Subvolume>(**command))
        piece = sendstream::encode_header(decoder.version());
      Bytes changed;
      if (auto* write = std::get_if<sendstream::Write>(&**command); write && ++writes % 2 == 0) {
        changed.assign(write->data.begin(), write->data.end());
        changed[changed.size() / 2] ^= std::byte{1};
        write->data = changed;
      }
      const auto bytes = sendstream::encode(**command, decoder.version());
      ASSERT_DONE(bytes);
      piece.insert(piece.end(), bytes->begin(), bytes->end());
    }
  };
  start_with_streams();
  arrive(1);
  EXPECT_GE(writes, 4);
  EXPECT_EQ(source_->streams_asked, 1);
  EXPECT_GT(source_->extents_served, 0);
}

TEST_F(StreamTest, DamageThatTheStreamItselfNoticesEndsItAndNotTheArrival) {
  publish("head -c 3M /dev/urandom > disk");
  std::uint64_t before = 0;
  source_->damage_stream = [&](Bytes& piece) {
    if (before < 1'500'000 && before + piece.size() >= 1'500'000) piece[0] ^= std::byte{0xFF};
    before += piece.size();
  };
  start_with_streams();
  const ArrivalProgress progress = arrive(1);
  EXPECT_EQ(progress.transfer, Transfer::extents);
  EXPECT_THAT(progress.transfer_why, HasSubstr("broke"));
}

TEST_F(StreamTest, AStopInTheMiddleIsHeardAndTheRestComesAfterTheStart) {
  publish("head -c 8M /dev/urandom > disk");
  std::promise<void> half;
  std::atomic<bool> said = false;
  source_->on_stream = [&](std::uint64_t sent) -> Status {
    if (sent > 6'000'000 && !said.exchange(true)) half.set_value();
    if (sent > 6'000'000) std::this_thread::sleep_for(1ms);
    return {};
  };
  start_with_streams({.bandwidth_limit = 30'000'000});
  ASSERT_DONE(open(1));
  replicator_->want(serial(1));
  half.get_future().wait();
  replicator_.reset();
  source_->on_stream = nullptr;
  source_->extents_served = 0;
  start_with_streams();
  wait_until_complete(1);
  expect_landed_equal(1);
}

TEST_F(StreamTest, IsMeasuredByItselfWithManySmallFilesAndNotWithADisk) {
  publish("for i in $(seq 2500); do echo $i > f$i; done");
  publish("for i in $(seq 2500); do echo new $i > f$i; done");
  publish("rm f*; head -c 3M /dev/urandom > disk");
  start();
  EXPECT_EQ(arrive(1).transfer, Transfer::extents);
  EXPECT_EQ(arrive(2).transfer, Transfer::stream);
  EXPECT_EQ(arrive(3).transfer, Transfer::extents);
  EXPECT_EQ(source_->streams_asked, 1);
}

TEST_F(StreamTest, WhatIsHereIsNotStreamed) {
  publish("head -c 4M /dev/urandom > disk");
  publish("cp --reflink=never disk copy; rm disk; sync -f .");
  start_with_streams();
  arrive(1);
  arrive(2);
  EXPECT_EQ(source_->streams_asked, 1);
  EXPECT_EQ(source_->extents_served, 0);
}

}  // namespace
}  // namespace icbd::replicator
