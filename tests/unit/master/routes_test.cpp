#include "routes.h"

#include <gtest/gtest.h>

#include "harness/temporary_directory.h"

namespace icbd::master {
namespace {

using nlohmann::json;

// The publish routes over jobs that publish nothing and end at once.
struct PublishRoutes : ::testing::Test {
  PublishRoutes() {
    add_publish_routes(
        router, jobs,
        [this](const repository::PublishRequest& request) -> Result<repository::PublishPlan> {
          published = request;
          repository::PublishPlan plan;
          plan.kind = "qcow2";
          plan.number = VersionNumber(4);
          plan.parent = VersionNumber(3);
          plan.bytes_to_read = 77;
          return plan;
        });
    add_adoption_routes(router, adoptions, [this](const repository::AdoptionRequest& request) {
      planned = request;
      return Result<std::vector<repository::AdoptionCandidate>>({{.path = request.paths.front(),
                                                                  .subvolume = SubvolumeId(300),
                                                                  .uuid = Uuid::random(),
                                                                  .created = {}}});
    });
    add_job_routes(router, jobs, adoptions, verifications);
  }

  Result<rest::Response> post_adoption(json body) {
    return router({.method = "POST",
                   .path = {"api", "images", "win11", "adoptions"},
                   .query = {},
                   .body = std::move(body)});
  }

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
        return repository::PublishReport{.version = {},
                                         .bytes_hashed = 4,
                                         .bytes_inherited = 6,
                                         .warnings = {"careful"},
                                         .kind = "raw",
                                         .notes = {"as before"}};
      },
      make_silent_logger()};
  harness::TemporaryDirectory directory = harness::TemporaryDirectory::create().value();
  std::unique_ptr<catalog::Catalog> catalog =
      catalog::Catalog::open(directory.path() / "catalog").value();
  node::VerifyJobs verifications{
      [](const catalog::Version&, repository::VerifyProgress&) -> Result<repository::VerifyReport> {
        return repository::VerifyReport{};
      },
      make_silent_logger()};
  repository::AdoptionRequest planned;
  AdoptionJobs adoptions{*catalog,
                         [](const catalog::Adoption& adoption,
                            repository::PublishProgress&) -> Result<repository::PublishReport> {
                           if (adoption.place.path == "/gone")
                             return fail(ErrorCode::corrupt, "it is missing");
                           return repository::PublishReport{};
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

TEST_F(PublishRoutes, EveryOptionReachesThePublication) {
  const auto started = post("win11", {{"path", "/srv/win11.qcow2"},
                                      {"message", "new"},
                                      {"tags", {"stable", "current"}},
                                      {"boot", "netboot"},
                                      {"target", ""},
                                      {"format", "qcow2"},
                                      {"as", "win.raw"},
                                      {"checksum", true},
                                      {"allow_changing", true}});
  ASSERT_TRUE(started) << started.error().message();
  const json done = job(started->body["job"]);
  EXPECT_EQ(published.tags, (std::vector<std::string>{"stable", "current"}));
  EXPECT_EQ(published.boot, "netboot");
  EXPECT_EQ(published.target, "");
  EXPECT_EQ(published.format, "qcow2");
  EXPECT_EQ(published.disk_name, "win.raw");
  EXPECT_TRUE(published.checksum);
  EXPECT_TRUE(published.allow_changing);
  EXPECT_EQ(done["phase"], "preparing");
  EXPECT_EQ(done["result"]["kind"], "raw");
  EXPECT_EQ(done["result"]["notes"], json{"as before"});
}

TEST_F(PublishRoutes, ADryRunPublishesNothing) {
  const auto response = post("win11", {{"path", "/srv/win11"}, {"dry_run", true}});
  ASSERT_TRUE(response) << response.error().message();
  EXPECT_EQ(response->status, 200);
  EXPECT_FALSE(response->body.contains("job"));
  EXPECT_EQ(response->body["plan"]["kind"], "qcow2");
  EXPECT_EQ(response->body["plan"]["number"], 4);
  EXPECT_EQ(response->body["plan"]["bytes_to_read"], 77);
  EXPECT_EQ(published.boot, std::nullopt) << "nothing was said";
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
               {"win11", {{"path", "/x"}, {"tags", "stable"}}, "tags"},
               {"win11", {{"path", "/x"}, {"tags", {"12"}}}, "12"},
               {"win11", {{"path", "/x"}, {"boot", 7}}, "boot"},
               {"win11", {{"path", "/x"}, {"dry_run", "yes"}}, "dry_run"},
               {"win11", {{"path", "/x"}, {"message", std::string(5000, 'm')}}, "5000"}};
  for (const auto& [image, body, word] : cases) {
    const auto response = post(image, body);
    ASSERT_FALSE(response) << body;
    EXPECT_NE(response.error().message().find(word), std::string::npos)
        << response.error().message();
  }
}

TEST_F(PublishRoutes, AnUnknownJobIsNotFound) {
  for (const char* id : {"9", "adopt-9", "adopt-"}) {
    const auto response =
        router({.method = "GET", .path = {"api", "jobs", id}, .query = {}, .body = nullptr});
    EXPECT_EQ(response.error().code(), ErrorCode::not_found) << id;
  }
}

TEST_F(PublishRoutes, AdoptingIsAJobToo) {
  const auto started = post_adoption({{"paths", {"/srv/a", "/srv/b"}}, {"keep_order", true}});
  ASSERT_TRUE(started) << started.error().message();
  EXPECT_EQ(started->status, 202);
  EXPECT_EQ(started->body["snapshots"][0]["path"], "/srv/a");
  EXPECT_EQ(planned.image, "win11");
  EXPECT_EQ(planned.paths.size(), 2u);
  EXPECT_TRUE(planned.keep_order);
  const json done = job(started->body["job"]);
  EXPECT_EQ(done["state"], "done");
  EXPECT_EQ(done["snapshots"].size(), 1u);
  EXPECT_TRUE(done["snapshots"][0].contains("version"));
}

TEST_F(PublishRoutes, AnAdoptionThatFailsSaysWhy) {
  const json failed = job(post_adoption({{"paths", {"/gone"}}})->body["job"]);
  EXPECT_EQ(failed["state"], "failed");
  EXPECT_EQ(failed["error"]["message"], "it is missing");
}

TEST_F(PublishRoutes, ADryRunAdoptsNothing) {
  const auto response = post_adoption({{"paths", {"/srv/a"}}, {"dry_run", true}});
  ASSERT_TRUE(response) << response.error().message();
  EXPECT_EQ(response->status, 200);
  EXPECT_FALSE(response->body.contains("job"));
  EXPECT_TRUE(catalog->adoptions()->empty());
}

TEST_F(PublishRoutes, BadAdoptionsAreRefused) {
  for (const json& body :
       {json(nullptr), json::array(), json{{"paths", "/a"}}, json{{"paths", {7}}},
        json{{"paths", {"/a"}}, {"dry_run", "yes"}}, json{{"paths", {"/a"}}, {"order", "given"}}}) {
    const auto response = post_adoption(body);
    ASSERT_FALSE(response) << body;
    EXPECT_EQ(response.error().code(), ErrorCode::invalid_argument);
  }
}

}  // namespace
}  // namespace icbd::master
