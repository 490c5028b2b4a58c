// What people wish of a cache, over REST: subscriptions, pulls, drops, pins; tags, verification;
// and that they hear of it at once.

#include <fcntl.h>

#include <atomic>
#include <optional>
#include <thread>

#include "icbd/base/unique_fd.h"

#include "system/site.h"

namespace icbd::system_test {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;

class WishesTest : public SiteTest {
 protected:
  void publish_megabytes(int megabytes, const std::string& image = "image") {
    change("head -c " + std::to_string(megabytes) + "M /dev/urandom > disk");
    ASSERT_DONE(site->publish(image));
  }
  json ask(const std::string& path) { return site->ask_cache(path).value(); }
  // The refusal of a request that has to be refused.
  static std::string refusal(const Result<json>& answer, ErrorCode code) {
    EXPECT_FALSE(answer.has_value());
    if (answer) return "";
    EXPECT_EQ(answer.error().code(), code) << answer.error().message();
    return answer.error().message();
  }
};

TEST_F(WishesTest, ASubscriptionKeepsTheNewestVersionsHere) {
  publish_megabytes(2);
  publish_megabytes(2);
  ASSERT_DONE(site->start_cache());
  ASSERT_DONE(site->cache_client().put("/api/subscriptions/image", {{"latest", 1}}));
  ASSERT_DONE(site->wait_until_complete("image", 2));
  EXPECT_EQ(site->state("image", 1), "remote");
  publish_megabytes(2);
  ASSERT_DONE(site->wait_until_listed("image", 3));
  ASSERT_DONE(site->wait_until_complete("image", 3));
  const json subscription = ask("/api/subscriptions")["subscriptions"][0];
  EXPECT_EQ(subscription["state"], "complete");
  EXPECT_EQ(subscription["wanted"], json({"image@3"}));
  EXPECT_EQ(ask("/api/status")["subscriptions"][0], subscription);
  ASSERT_DONE(site->cache_client().remove("/api/subscriptions/image"));
  refusal(site->cache_client().remove("/api/subscriptions/image"), ErrorCode::not_found);
  expect_landed_equal("image", 3);
}

TEST_F(WishesTest, WhatIsPublishedIsSeenAndFetchedAtOnce) {
  site->set_poll_interval(3600);
  publish_megabytes(1);
  ASSERT_DONE(site->start_cache());
  ASSERT_DONE(Site::wait_until([&] { return ask("/api/status")["master"]["announcing"] == true; },
                               "the cache to listen"));
  ASSERT_DONE(site->cache_client().put("/api/subscriptions/image", {{"latest", 1}}));
  ASSERT_DONE(site->wait_until_complete("image", 1));
  publish_megabytes(1);
  // Nobody asks for it: the master's word alone brings it.
  ASSERT_DONE(site->wait_until_listed("image", 2));
  ASSERT_DONE(site->wait_until_complete("image", 2));
}

TEST_F(WishesTest, AMissedAnnouncementIsMadeUpFor) {
  site->set_poll_interval(3600);
  publish_megabytes(1);
  ASSERT_DONE(site->start_cache());
  ASSERT_DONE(Site::wait_until([&] { return ask("/api/status")["master"]["announcing"] == true; },
                               "the cache to listen"));
  ASSERT_DONE(site->stop_master());
  ASSERT_DONE(Site::wait_until([&] { return ask("/api/status")["master"]["announcing"] == false; },
                               "the cache to notice"));
  ASSERT_DONE(site->start_master());
  publish_megabytes(1);
  ASSERT_DONE(site->wait_until_listed("image", 2));
}

TEST_F(WishesTest, APulledVersionArrivesWithoutAReader) {
  publish_megabytes(2);
  ASSERT_DONE(site->start_cache("fill = \"never\"\n"));
  const auto pulled = site->cache_client().post("/api/images/image/versions/latest/pull", json());
  ASSERT_DONE(pulled);
  EXPECT_EQ(pulled->at("number"), 1);
  ASSERT_DONE(site->wait_until_complete("image", 1));
  expect_landed_equal("image", 1);
}

TEST_F(WishesTest, AnOpenFileHoldsItsVersion) {
  publish_megabytes(1);
  ASSERT_DONE(site->start_cache());
  expect_equal_through_view("image", 1);
  ASSERT_DONE(site->wait_until_complete("image", 1));
  const auto file = site->view("image", 1) / "disk";
  unique_fd reader(::open(file.c_str(), O_RDONLY));
  ASSERT_TRUE(reader);
  EXPECT_EQ(refusal(site->cache_client().remove("/api/images/image/versions/1"), ErrorCode::busy),
            "image@1 is held: a file of it is open");
  const json holds = ask("/api/holds")["holds"];
  ASSERT_EQ(holds.size(), 1u);
  EXPECT_EQ(holds[0]["kind"], "open");
  EXPECT_EQ(holds[0]["version"], "image@1");
  reader.reset();
  // The kernel tells of a close a moment later.
  ASSERT_DONE(Site::wait_until([&] { return ask("/api/holds")["holds"].empty(); }, "the release"));
  ASSERT_DONE(site->cache_client().remove("/api/images/image/versions/1"));
  EXPECT_EQ(site->state("image", 1), "remote");
  EXPECT_FALSE(std::filesystem::exists(site->cache_version("image", 1)));
}

// The kernel keeps pages by inode number, and what is fetched again has its files under others.
TEST_F(WishesTest, WhatIsReadAfterADropIsRightThoughInodesHaveChanged) {
  change("for i in 1 2 3 4 5 6 7 8; do head -c 300K /dev/urandom > file$i; done");
  ASSERT_DONE(site->publish("image"));
  change("for i in 8 7 6 5 4 3 2 1; do head -c 300K /dev/urandom > new; mv new file$i; done");
  ASSERT_DONE(site->publish("image"));
  ASSERT_DONE(site->start_cache());
  expect_equal_through_view("image", 1);
  ASSERT_DONE(site->wait_until_complete("image", 1));
  expect_equal_through_view("image", 2);
  ASSERT_DONE(site->wait_until_complete("image", 2));
  for (int round = 0; round < 3; ++round) {
    // Version 2 comes once on top of 1, once from nothing: then its inodes are numbered anew.
    for (const int number : {2, 1}) {
      expect_equal_through_view("image", number);
      const std::string path = "/api/images/image/versions/" + std::to_string(number);
      ASSERT_DONE(Site::wait_until([&] { return site->cache_client().remove(path).has_value(); },
                                   "nobody to hold it"));
    }
    expect_equal_through_view("image", round % 2 == 0 ? 2 : 1);
    ASSERT_DONE(site->wait_until_complete("image", round % 2 == 0 ? 2 : 1));
    expect_equal_through_view("image", round % 2 == 0 ? 1 : 2);
    ASSERT_DONE(site->wait_until_complete("image", round % 2 == 0 ? 1 : 2));
  }
}

TEST_F(WishesTest, APinSurvivesARestart) {
  publish_megabytes(1);
  ASSERT_DONE(site->start_cache());
  const std::string version = "/api/images/image/versions/1";
  ASSERT_DONE(site->cache_client().put(version + "/pin", {{"reason", "exam week"}}));
  ASSERT_DONE(site->cache_client().post(version + "/pull", json()));
  ASSERT_DONE(site->wait_until_complete("image", 1));
  ASSERT_DONE(site->stop_cache());
  EXPECT_EQ(site->cache().error_output().find(" error "), std::string::npos)
      << "a clean stop is no error: " << site->cache().error_output();
  ASSERT_DONE(site->start_cache());
  EXPECT_EQ(ask(version)["pin"]["reason"], "exam week");
  EXPECT_EQ(refusal(site->cache_client().remove(version), ErrorCode::busy),
            "image@1 is held: somebody has pinned it: exam week");
  ASSERT_DONE(site->cache_client().remove(version + "/pin"));
  ASSERT_DONE(site->cache_client().remove(version));
}

TEST_F(WishesTest, TagsAreLinksInBothViewsAndFollowed) {
  ASSERT_DONE(site->stop_master());
  ASSERT_DONE(site->use_master_view());
  ASSERT_DONE(site->start_master());
  for (int i = 0; i < 3; ++i) publish_megabytes(1);
  ASSERT_DONE(site->start_cache());
  const auto link = [&](const std::filesystem::path& root, const char* name) {
    std::error_code error;
    return std::filesystem::read_symlink(root / "image" / name, error).string();
  };
  EXPECT_EQ(link(site->mountpoint(), "current"), "3")
      << "the latest, until somebody says otherwise";
  ASSERT_DONE(site->master_client().put("/api/images/image/tags/current", {{"version", 1}}));
  ASSERT_DONE(site->master_client().put("/api/images/image/tags/stable", {{"version", 2}}));
  for (const auto& root : {site->mountpoint(), site->master_mountpoint()}) {
    ASSERT_DONE(Site::wait_until(
        [&] { return link(root, "current") == "1" && link(root, "stable") == "2"; }, "the tags"));
    EXPECT_EQ(link(root, "latest"), "3");
    EXPECT_EQ(*harness::run_checked({"ls", "-1", (root / "image").string()}),
              "1\n2\n3\ncurrent\nlatest\nstable\n");
  }
  ASSERT_DONE(site->cache_client().put("/api/subscriptions/image", {{"tag", "stable"}}));
  ASSERT_DONE(site->wait_until_complete("image", 2));
  ASSERT_DONE(site->master_client().remove("/api/images/image/tags/stable"));
  ASSERT_DONE(
      Site::wait_until([&] { return link(site->mountpoint(), "stable").empty(); }, "its end"));
  refusal(site->master_client().put("/api/images/image/tags/latest", {{"version", 1}}),
          ErrorCode::invalid_argument);
  refusal(site->master_client().put("/api/images/image/tags/stable", {{"version", 9}}),
          ErrorCode::not_found);
  EXPECT_EQ(harness::diff_trees(site->master_version("image", 1),
                                site->master_mountpoint() / "image" / "current" / ""),
            "");
}

TEST_F(WishesTest, VerificationFindsAChangedByte) {
  publish_megabytes(2);
  ASSERT_DONE(site->start_cache());
  expect_equal_through_view("image", 1);
  ASSERT_DONE(site->wait_until_complete("image", 1));
  const auto verify = [&] {
    const auto begun = site->cache_client().post("/api/images/image/versions/1/verify", json());
    EXPECT_TRUE(begun.has_value());
    json job;
    EXPECT_TRUE(Site::wait_until(
        [&] {
          job = ask("/api/jobs/" + begun->at("job").get<std::string>());
          return job["state"] != "running";
        },
        "the verification"));
    return job;
  };
  EXPECT_EQ(verify()["result"], json({{"verified_bytes", 2 << 20}, {"problems", json::array()}}));
  const std::string path = site->cache_version("image", 1).string();
  ASSERT_DONE(harness::shell_checked("btrfs property set -f -ts '" + path +
                                     "' ro false; printf x | dd of='" + path +
                                     "/disk' bs=1 seek=1000000 conv=notrunc status=none; btrfs "
                                     "property set -ts '" +
                                     path + "' ro true"));
  const json job = verify();
  if (job["state"] == "done") {
    ASSERT_EQ(job["result"]["problems"].size(), 1u) << job;
    EXPECT_NE(job["result"]["problems"][0].get<std::string>().find("disk"), std::string::npos);
  } else {
    // Making it writable took its received UUID: then it is not this version any more.
    EXPECT_EQ(job["error"]["code"], "corrupt") << job;
  }
}

TEST_F(WishesTest, EveryListenerIsTold) {
  publish_megabytes(1);
  constexpr int listeners = 100;
  std::atomic<int> told = 0;
  std::vector<std::jthread> threads;
  for (int i = 0; i < listeners; ++i)
    threads.emplace_back([&](std::stop_token stop) {
      std::optional<std::uint64_t> before;  // where things stand, which each is told first
      const auto count = [&](const rest::Event& event) {
        const auto now = event.data.at("change").get<std::uint64_t>();
        if (before && now > *before) ++told;
        before = before ? UINT64_MAX : now;
      };
      static_cast<void>(site->master_client().follow("/api/events", stop, 60s, count));
    });
  ASSERT_DONE(Site::wait_until(
      [&] { return site->ask_master("/api/status")->at("events")["listeners"] == listeners; },
      "all to listen"));
  publish_megabytes(1);
  ASSERT_DONE(Site::wait_until([&] { return told == listeners; }, "all to be told"));
}

// A script need not ask again and again: after the last announcement, nothing else will change.
TEST_F(WishesTest, WhoIsToldOfAChangeSeesIt) {
  publish_megabytes(2);
  ASSERT_DONE(site->start_cache());
  ASSERT_DONE(site->wait_until_listed("image", 1));
  std::atomic<bool> seen = false;
  std::jthread listener([&](std::stop_token stop) {
    static_cast<void>(site->cache_client().follow(
        "/api/events", stop, 60s,
        [&](const rest::Event&) { seen = seen || site->state("image", 1) == "complete"; }));
  });
  ASSERT_DONE(
      site->cache_client().post("/api/images/image/versions/1/pull", nlohmann::json::object()));
  ASSERT_DONE(Site::wait_until([&] { return seen.load(); }, "an announcement of what is complete"));
}

}  // namespace
}  // namespace icbd::system_test
