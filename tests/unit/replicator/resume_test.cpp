// Arrivals that go on after a start, the moment at which a version is shown, and who hears of it.

#include <fstream>

#include "arrival_fixture.h"

namespace icbd::replicator {
namespace {

using ::testing::Contains;

class ResumeTest : public ArrivalTest {
 protected:
  // Version 1 arrives, some of it is here, and the process ends.
  void leave_an_arrival() {
    publish("head -c 4M /dev/urandom > disk; touch a b c");
    start({.fill = FillPolicy::demand_only});
    {
      const auto version = open(1);
      ASSERT_DONE(version);
      ASSERT_DONE(read(**version, "disk", {0, 1'000'000}).get());
    }
    replicator_.reset();
    source_->shapes_served = 0;
  }
  void damage_pending_map() {
    std::ofstream(cache_->pending_map_path("image", VersionNumber(1))) << "damaged";
  }
};

TEST_F(ResumeTest, NobodySeesAVersionBeforeItsShapeIsDurable) {
  publish("head -c 1M /dev/urandom > disk");
  start({.fill = FillPolicy::demand_only});
  std::promise<void> seen;
  replicator_->open(serial(1), [&](const auto& opened) {
    EXPECT_TRUE(opened.has_value());
    EXPECT_NE(replicator_->opened(serial(1)), nullptr);
    const auto version = cache_->catalog().version(serial(1));
    EXPECT_TRUE(version.has_value() && version->shaped) << "whoever goes on needs the same inodes";
    EXPECT_TRUE(std::filesystem::exists(cache_->pending_map_path("image", VersionNumber(1))));
    seen.set_value();
  });
  seen.get_future().get();
}

TEST_F(ResumeTest, WhoOpensAnArrivalWaitsUntilItGoesOnAndFetchesNoShape) {
  leave_an_arrival();
  source_->set_away(true);
  start({.ask_source_first = false});
  const auto version = open(1);
  ASSERT_DONE(version);
  ASSERT_TRUE((*version)->arrival);
  ASSERT_DONE(read(**version, "disk", {0, 1'000'000}).get());
  EXPECT_EQ(source_->shapes_served, 0);
}

TEST_F(ResumeTest, AnArrivalThatNobodyOpensGoesOnToo) {
  leave_an_arrival();
  start();
  wait_until([&] { return replicator_->opened(serial(1)) != nullptr; }, "it does not go on");
  EXPECT_EQ(source_->shapes_served, 0);
}

TEST_F(ResumeTest, WhatOnlyReadersBringIsRememberedToo) {
  publish("head -c 8M /dev/urandom > disk");
  start({.fill = FillPolicy::demand_only});
  const auto version = open(1);
  ASSERT_DONE(version);
  const auto map = cache_->pending_map_path("image", VersionNumber(1));
  wait_until([&] { return std::filesystem::exists(map); }, "the shape is not durable");
  const auto content = [&] {
    std::ostringstream text;
    text << std::ifstream(map).rdbuf();
    return text.str();
  };
  const std::string before = content();
  ASSERT_DONE(read(**version, "disk", {0, 1'000'000}).get());
  wait_until([&] { return content() != before; }, "nothing is remembered");
}

TEST_F(ResumeTest, WithoutAskingTheSourceItIsAskedAMomentLater) {
  leave_an_arrival();
  publish("touch d");
  start({.ask_source_first = false});
  wait_until_known(2);
}

TEST_F(ResumeTest, AnArrivalThatCannotGoOnBeginsAgainForWhoWaits) {
  leave_an_arrival();
  damage_pending_map();
  start({.fill = FillPolicy::demand_only});
  const auto version = open(1);
  ASSERT_DONE(version);
  EXPECT_EQ(source_->shapes_served, 1);
  EXPECT_EQ((*version)->version.generation, 1u) << "its inodes may be others";
  replicator_->want(serial(1));
  wait_until_complete(1);
  expect_landed_equal(1);
}

TEST_F(ResumeTest, AnArrivalThatCannotGoOnIsRemoteIfNobodyWaits) {
  leave_an_arrival();
  damage_pending_map();
  start();
  wait_until([&] { return replicator_->find(serial(1))->state == catalog::VersionState::remote; },
             "it does not become remote");
  EXPECT_EQ(source_->shapes_served, 0);
  ASSERT_DONE(open(1));
}

TEST_F(ResumeTest, StoppingWhileArrivalsAreAboutToGoOnAnswersWhoWaits) {
  leave_an_arrival();
  start();
  auto answer = std::make_shared<std::promise<bool>>();
  replicator_->open(serial(1), [answer](const auto& opened) {
    answer->set_value(opened.has_value() || opened.error().code() == ErrorCode::cancelled);
  });
  replicator_->stop();
  EXPECT_TRUE(answer->get_future().get());
}

TEST_F(ResumeTest, TheObserverHearsOfEveryChangeAndMayAskWhatItIs) {
  publish("head -c 1M /dev/urandom > disk");
  replicator_.emplace(*cache_, *source_, clock_, ReplicatorOptions{.poll_interval = 20ms}, logger_);
  std::mutex mutex;
  std::vector<std::string> states;  // of version 1, as the observer finds them
  replicator_->set_observer([&] {
    const auto table = replicator_->versions();
    const auto arriving = replicator_->arriving();
    const std::lock_guard lock(mutex);
    for (const catalog::Version& version : table->of("image"))
      if (version.facts.number == VersionNumber(1))
        states.emplace_back(catalog::to_string(version.state));
  });
  const auto heard = [&](const char* state) {
    const std::lock_guard lock(mutex);
    return std::ranges::find(states, state) != states.end();
  };
  ASSERT_DONE(replicator_->start());
  EXPECT_TRUE(heard("remote"));
  ASSERT_DONE(open(1));
  wait_until([&] { return heard("arriving"); }, "nobody says that it arrives");
  replicator_->want(serial(1));
  wait_until([&] { return heard("complete"); }, "nobody says that it is complete");
  {
    const std::lock_guard lock(mutex);
    states.clear();
  }
  ASSERT_DONE(replicator_->drop(serial(1), {}));
  EXPECT_TRUE(heard("remote"));
  replicator_->stop();  // it calls what lies in this frame
}

}  // namespace
}  // namespace icbd::replicator
