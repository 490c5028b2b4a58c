#include "icbd/replicator/transfer_choice.h"

#include <gmock/gmock.h>

namespace icbd::replicator {
namespace {

using enum Transfer;
using testing::HasSubstr;
using testing::Not;

// 50,000 files of 4 KiB, all of them new; streams were measured to be twice as fast.
TransferFacts small_files() {
  return {.pending_files = 50'000,
          .pending_bytes = 50'000 * 4096,
          .stream_bytes = 50'000 * 4096,
          .extents_speed = 10'000,
          .stream_speed = 20'000,
          .unavailable = {}};
}
TransferFacts disk_image() {
  return {
      .pending_files = 1, .pending_bytes = 1u << 31, .stream_bytes = 1u << 31, .unavailable = {}};
}

Transfer chosen(TransferMode mode, const TransferFacts& facts) {
  const TransferDecision decision = choose_transfer(mode, facts);
  EXPECT_THAT(decision.why, Not(testing::IsEmpty()));
  return decision.transfer;
}

TEST(TransferChoice, TakesTheStreamByItselfForManySmallFiles) {
  EXPECT_EQ(chosen(TransferMode::automatic, small_files()), stream);
  EXPECT_EQ(chosen(TransferMode::automatic, disk_image()), extents);
  TransferFacts few = small_files();
  few.pending_files = stream_files_min - 1;
  EXPECT_EQ(chosen(TransferMode::automatic, few), extents);
  TransferFacts large = small_files();
  large.pending_bytes = large.stream_bytes = large.pending_files * (stream_file_bytes_max + 1);
  EXPECT_EQ(chosen(TransferMode::automatic, large), extents);
}

TEST(TransferChoice, MeasuresExtentsThenTheStreamAndTakesWhatIsFaster) {
  TransferFacts facts = small_files();
  TransferSpeeds speeds;
  const auto choose = [&] {
    facts.extents_speed = speeds.of(extents);
    facts.stream_speed = speeds.of(stream);
    return chosen(TransferMode::automatic, facts);
  };
  EXPECT_EQ(choose(), extents);
  speeds.note(extents, 10'000);
  EXPECT_EQ(choose(), stream);
  speeds.note(stream, 11'000);
  EXPECT_EQ(choose(), extents) << "not by enough";
  for (int i = 0; i < 10; ++i) speeds.note(extents, 5'000);
  EXPECT_EQ(choose(), stream);
  speeds.note(stream, 1'000);
  speeds.note(stream, 1'000);
  speeds.note(stream, 1'000);
  EXPECT_EQ(choose(), extents);
}

TEST(TransferChoice, LeavesReadersTheirOrder) {
  TransferFacts facts = small_files();
  facts.readers_wait = true;
  EXPECT_EQ(chosen(TransferMode::automatic, facts), extents);
  EXPECT_EQ(chosen(TransferMode::stream, facts), stream);
  facts = small_files();
  facts.is_read = true;
  EXPECT_EQ(chosen(TransferMode::automatic, facts), extents);
  EXPECT_EQ(chosen(TransferMode::stream, facts), stream);
}

TEST(TransferChoice, DoesAsItIsTold) {
  EXPECT_EQ(chosen(TransferMode::extents, small_files()), extents);
  EXPECT_EQ(chosen(TransferMode::stream, disk_image()), stream);
}

TEST(TransferChoice, TakesNoStreamOfWhatIsMostlyHere) {
  for (const auto mode : {TransferMode::automatic, TransferMode::stream}) {
    TransferFacts facts = small_files();
    facts.stream_bytes = facts.pending_bytes * 3 / 2;
    EXPECT_EQ(chosen(mode, facts), stream);
    ++facts.stream_bytes;
    EXPECT_EQ(chosen(mode, facts), extents);
    facts.pending_files = facts.pending_bytes = 0;
    EXPECT_EQ(chosen(mode, facts), extents);
  }
}

TEST(TransferChoice, SaysWhyAStreamCannotBeHad) {
  TransferFacts facts = small_files();
  facts.unavailable = "the master is too old";
  const TransferDecision decision = choose_transfer(TransferMode::stream, facts);
  EXPECT_EQ(decision.transfer, extents);
  EXPECT_THAT(decision.why, HasSubstr("too old"));
}

TEST(TransferChoice, KnowsTheWordsOfTheConfiguration) {
  EXPECT_EQ(transfer_mode("auto"), TransferMode::automatic);
  EXPECT_EQ(transfer_mode("extents"), TransferMode::extents);
  EXPECT_EQ(transfer_mode("stream"), TransferMode::stream);
}

}  // namespace
}  // namespace icbd::replicator
