// The command line against a real master and a real cache: what an administrator types in a week.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "system/site.h"

namespace icbd::system_test {
namespace {

using nlohmann::json;
using testing::HasSubstr;

constexpr int exit_refused = 5;

class CliSystemTest : public SiteTest {
 protected:
  void SetUp() override {
    SiteTest::SetUp();
    if (!site) return;
    for (const int day : {1, 2}) {
      change(fmt::format("echo day {} > motd; head -c 3M /dev/urandom > disk.raw", day));
      ASSERT_DONE(site->publish("win11"));
    }
    ASSERT_DONE(site->start_cache());
    ASSERT_DONE(site->wait_until_listed("win11", 2));
  }

  static harness::RunResult icbd(const std::string& server, std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(),
                     {ICBD_PROGRAMS "/icbd", "--server", fmt::format("http://{}", server)});
    const auto result = harness::run(arguments);
    if (!result) return {.exit_code = -1, .output = result.error().message()};
    return *result;
  }
  harness::RunResult on_master(const std::vector<std::string>& arguments) const {
    return icbd(site->master_rest(), arguments);
  }
  harness::RunResult on_cache(const std::vector<std::string>& arguments) const {
    return icbd(site->cache_rest(), arguments);
  }
  static void expect_done(const harness::RunResult& result, const std::string& output) {
    EXPECT_EQ(result.exit_code, 0) << result.output;
    EXPECT_THAT(result.output, HasSubstr(output));
  }
};

TEST_F(CliSystemTest, TagsOfTheMasterReachTheCache) {
  expect_done(on_master({"tag", "win11@1", "stable"}), "win11@stable is win11@1 now");
  ASSERT_DONE(Site::wait_until(
      [&] { return on_cache({"show", "win11@stable"}).output.contains("version    win11@1"); },
      "the tag on the cache"));
  expect_done(on_cache({"pull", "win11@stable"}), "win11@1 is complete");
  expect_done(on_master({"untag", "win11", "stable"}), "no more");
}

TEST_F(CliSystemTest, PullPinDropAndWhatHoldsIt) {
  expect_done(on_cache({"pull", "win11@1"}), "win11@1 is complete");
  expect_done(on_cache({"verify", "win11@1"}), "0 problems");
  expect_done(on_cache({"pin", "win11@1", "--reason", "exams"}), "pinned win11@1");
  expect_done(on_cache({"list", "win11"}), "pinned");
  const auto refused = on_cache({"drop", "win11@1"});
  EXPECT_EQ(refused.exit_code, exit_refused) << refused.output;
  EXPECT_THAT(refused.output, HasSubstr("icbd holds win11@1"));
  expect_done(on_cache({"holds", "win11@1"}), "exams");
  expect_done(on_cache({"unpin", "win11@1"}), "pinned no longer");
  expect_done(on_cache({"pull", "--cancel", "win11@1"}), "not pulled any longer");
  expect_done(on_cache({"drop", "win11@1"}), "dropped win11@1");
  EXPECT_EQ(site->state("win11", 1), "remote");
}

TEST_F(CliSystemTest, WhoWaitsForAVersionThatIsRefusedIsToldWhy) {
  change("chmod 4755 motd");
  ASSERT_DONE(site->publish("win11"));
  ASSERT_DONE(site->stop_cache());
  site->set_cache_settings({"policy.setuid=false"});
  ASSERT_DONE(site->start_cache());
  ASSERT_DONE(site->wait_until_listed("win11", 3));
  expect_done(on_cache({"pull", "win11@3", "--no-wait"}), "is being pulled");
  ASSERT_DONE(Site::wait_until(
      [&] { return on_cache({"show", "win11@3"}).output.contains("obstacle"); }, "the refusal"));
  const auto waited = on_cache({"wait", "win11@3", "--timeout", "0.1"});
  EXPECT_NE(waited.exit_code, 0);
  EXPECT_THAT(waited.output, HasSubstr("icbd: win11@3: "));
  EXPECT_THAT(waited.output, HasSubstr("setuid"));
  expect_done(on_cache({"pull", "win11@2"}), "win11@2 is complete");
}

TEST_F(CliSystemTest, ASubscriptionFetchesTheLatest) {
  expect_done(on_cache({"subscribe", "win11", "--latest", "1"}), "subscribed to win11, latest 1");
  expect_done(on_cache({"wait", "win11", "--timeout", "60"}), "win11@2 is complete");
  expect_done(on_cache({"subscriptions"}), "win11  latest 1  complete");
  expect_done(on_cache({"unsubscribe", "win11"}), "not subscribed");
}

TEST_F(CliSystemTest, PushFromTheMasterFillsTheCache) {
  expect_done(on_master({"push", "win11@latest", site->cache_rest()}), "win11@2 is complete");
}

TEST_F(CliSystemTest, WhatIsMistypedIsGuessedFromTheServersNames) {
  const auto result = on_cache({"pull", "win1l@1"});
  EXPECT_EQ(result.exit_code, 4);
  EXPECT_THAT(result.output, HasSubstr("did you mean win11?"));
  // As bash calls it: the line that is being written.
  const auto words = harness::run({"env", fmt::format("ICBD_SERVER=http://{}", site->cache_rest()),
                                   ICBD_PROGRAMS "/icbd", "__complete", "drop", "win11@"});
  ASSERT_DONE(words);
  expect_done(*words, "win11@2\n");
}

}  // namespace
}  // namespace icbd::system_test
