#include "icbd/master/master.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "icbd/btrfs/subvolume.h"
#include "icbd/rest/http.h"
#include "icbd/wire/remote_source.h"

#include "harness/loop_btrfs.h"

namespace icbd::master {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

// A master over a real BTRFS, on free ports of the loopback device.
struct MasterTest : harness::BtrfsTest {
  void SetUp() override {
    BtrfsTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    configuration.repository = path() / "repository";
    configuration.rest_listen = "127.0.0.1:0";
    configuration.data_listen = "127.0.0.1:0";
    std::filesystem::create_directory(configuration.repository);
    ASSERT_TRUE(btrfs::create_subvolume(path() / "disk"));
    start();
  }
  void start() {
    auto started = Master::start(configuration, make_silent_logger());
    ASSERT_TRUE(started) << started.error().message();
    master = std::move(*started);
  }
  rest::HttpClient client() { return *rest::HttpClient::make("http://" + master->rest_address()); }
  // The job's last report.
  json publish(const std::string& image, const std::filesystem::path& from) {
    const auto started = client().post("/api/images/" + image + "/versions",
                                       {{"path", from.string()}, {"message", "a test"}});
    EXPECT_TRUE(started) << started.error().message();
    while (true) {
      const auto job = client().get("/api/jobs/" + (*started)["job"].get<std::string>());
      EXPECT_TRUE(job) << job.error().message();
      if (!job || (*job)["state"] != "running") return job.value_or(json());
      std::this_thread::yield();
    }
  }

  config::Master configuration;
  std::unique_ptr<Master> master;
};

TEST_F(MasterTest, WhatIsPublishedIsListedAndServed) {
  const json job = publish("win11", path() / "disk");
  ASSERT_EQ(job["state"], "done") << job;
  EXPECT_EQ(job["result"]["version"]["number"], 1);
  const auto listed = client().get("/api/images/win11/versions/latest");
  ASSERT_TRUE(listed) << listed.error().message();
  EXPECT_EQ((*listed)["state"], "complete");
  EXPECT_EQ((*listed)["message"], "a test");

  wire::RemoteSource remote(wire::tcp_connector(master->data_address(), std::chrono::seconds(5)),
                            {.node_name = "test"}, make_silent_logger());
  const auto catalog = remote.catalog(std::nullopt);
  ASSERT_TRUE(catalog) << catalog.error().message();
  ASSERT_EQ((*catalog)->versions.size(), 1u);
  EXPECT_EQ((*catalog)->versions.front().uuid.to_string(), (*listed)["uuid"]);

  const auto status = client().get("/api/status");
  ASSERT_TRUE(status) << status.error().message();
  EXPECT_EQ((*status)["role"], "master");
  EXPECT_EQ((*status)["images"], 1);
  EXPECT_EQ((*status)["versions"], 1);
  EXPECT_EQ((*status)["repository"]["uuid"], (*catalog)->repository.to_string());
  EXPECT_GT((*status)["repository"]["total_bytes"], 0);
  EXPECT_EQ((*status)["data"]["listen"], master->data_address());
  EXPECT_EQ((*status)["data"]["connections"], 1);
}

TEST_F(MasterTest, VersionsOutliveARestart) {
  ASSERT_EQ(publish("win11", path() / "disk")["state"], "done");
  master.reset();
  start();
  EXPECT_EQ((*client().get("/api/images/win11"))["versions"].size(), 1u);
}

TEST_F(MasterTest, ADirectoryThatIsNoSubvolumeIsNotPublished) {
  std::filesystem::create_directory(path() / "plain");
  const json job = publish("win11", path() / "plain");
  EXPECT_EQ(job["state"], "failed");
  EXPECT_THAT(job["error"]["message"].get<std::string>(), HasSubstr((path() / "plain").string()));
  EXPECT_EQ((*client().get("/api/status"))["versions"], 0);
}

TEST_F(MasterTest, ARepositoryThatIsInUseIsRefused) {
  const auto second = Master::start(configuration, make_silent_logger());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), ErrorCode::busy) << second.error().message();
}

TEST_F(MasterTest, APortThatIsTakenIsNamed) {
  config::Master other = configuration;
  other.repository = path() / "other";
  std::filesystem::create_directory(other.repository);
  other.data_listen = master->data_address();
  const auto second = Master::start(other, make_silent_logger());
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().message(), HasSubstr(master->data_address()));
}

}  // namespace
}  // namespace icbd::master
