#include "routes.h"

#include <gtest/gtest.h>

namespace icbd::master {
namespace {

using nlohmann::json;

// The publish routes over jobs that publish nothing and end at once.
struct PublishRoutes : ::testing::Test {
  PublishRoutes() { add_publish_routes(router, jobs); }

  Result<rest::Response> post(const std::string& image, json body) {
    return router({.method = "POST",
                   .path = {"api", "images", image, "versions"},
                   .query = {},
                   .body = std::move(body)});
  }
  json job(const std::string& id) {
    while (true) {
      const auto response =
          router({.method = "GET", .path = {"api", "jobs", id}, .query = {}, .body = nullptr});
      if (response->body["state"] != "running") return response->body;
      std::this_thread::yield();
    }
  }

  repository::PublishRequest published;
  PublishJobs jobs{
      [this](const repository::PublishRequest& request,
             repository::PublishProgress& progress) -> Result<repository::PublishReport> {
        published = request;
        progress.bytes_total = progress.bytes_done = 10;
        if (request.message == "fail") return fail(ErrorCode::no_space, "the disk is full");
        return repository::PublishReport{
            .version = {}, .bytes_hashed = 4, .bytes_inherited = 6, .warnings = {"careful"}};
      },
      make_silent_logger()};
  rest::Router router;
};

TEST_F(PublishRoutes, PublishingIsAJobThatCanBeAskedAbout) {
  const auto started = post("win11", {{"path", "/srv/win11"}, {"message", "new"}});
  ASSERT_TRUE(started) << started.error().message();
  EXPECT_EQ(started->status, 202);
  const json done = job(started->body["job"]);
  EXPECT_EQ(published.image, "win11");
  EXPECT_EQ(published.path, "/srv/win11");
  EXPECT_EQ(published.message, "new");
  EXPECT_EQ(done["state"], "done");
  EXPECT_EQ(done["bytes_done"], 10);
  EXPECT_EQ(done["result"]["bytes_hashed"], 4);
  EXPECT_EQ(done["result"]["warnings"], json{"careful"});
  EXPECT_TRUE(done["result"]["version"].contains("uuid"));
}

TEST_F(PublishRoutes, AFailedJobSaysWhy) {
  const auto started = post("win11", {{"path", "/srv/win11"}, {"message", "fail"}});
  const json failed = job(started->body["job"]);
  EXPECT_EQ(failed["state"], "failed");
  EXPECT_EQ(failed["error"], (json{{"code", "no_space"}, {"message", "the disk is full"}}));
}

TEST_F(PublishRoutes, BadRequestsAreRefusedNamingTheTrouble) {
  const struct {
    std::string image;
    json body;
    std::string_view word;
  } cases[] = {{"..", {{"path", "/x"}}, ".."},
               {"win11", nullptr, "path"},
               {"win11", json::array(), "path"},
               {"win11", {{"message", "m"}}, "path"},
               {"win11", {{"path", 7}}, "path"},
               {"win11", {{"path", "relative"}}, "relative"},
               {"win11", {{"path", "/x"}, {"mesage", "m"}}, "mesage"},
               {"win11", {{"path", "/x"}, {"message", std::string(5000, 'm')}}, "5000"}};
  for (const auto& [image, body, word] : cases) {
    const auto response = post(image, body);
    ASSERT_FALSE(response) << body;
    EXPECT_NE(response.error().message().find(word), std::string::npos)
        << response.error().message();
  }
}

TEST_F(PublishRoutes, AnUnknownJobIsNotFound) {
  const auto response =
      router({.method = "GET", .path = {"api", "jobs", "9"}, .query = {}, .body = nullptr});
  EXPECT_EQ(response.error().code(), ErrorCode::not_found);
}

}  // namespace
}  // namespace icbd::master
