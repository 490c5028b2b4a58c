#include "icbd/rest/api.h"

#include <gtest/gtest.h>

namespace icbd::rest {
namespace {

using nlohmann::json;

catalog::Version version(std::uint32_t number) {
  catalog::Version version;
  version.facts = {.image = "win11",
                   .number = VersionNumber(number),
                   .uuid = {},
                   .manifest = {},
                   .parent = {},
                   .message = "m",
                   .published = {1'700'000'000, 0},
                   .root = {},
                   .entries = 12,
                   .file_bytes = 1000,
                   .data_bytes = 900,
                   .send_transaction = 5};
  if (number > 1) version.facts.parent = VersionNumber(number - 1);
  version.state = number > 1 ? catalog::VersionState::arriving : catalog::VersionState::complete;
  return version;
}

struct CatalogRoutes : ::testing::Test {
  CatalogRoutes() {
    add_catalog_routes(
        router,
        {.images = [] { return Result<std::vector<std::string>>({"empty", "win11"}); },
         .tags =
             [] {
               return Result<std::vector<catalog::Tag>>({{"win11", "stable", VersionNumber(1)}});
             },
         .versions = [](const std::string& image) -> Result<std::vector<catalog::Version>> {
           if (image == "empty") return std::vector<catalog::Version>{};
           return std::vector{version(1), version(2)};
         },
         .extend =
             [](const catalog::Version& of, json& description) {
               if (of.state == catalog::VersionState::arriving)
                 description["progress"] = {{"bytes_done", 7}};
             }});
  }
  Result<Response> get(std::vector<std::string> path) {
    path.insert(path.begin(), {"api", "images"});
    return router({.method = "GET", .path = std::move(path), .query = {}, .body = nullptr});
  }
  Router router;
};

TEST(Api, VersionAsJson) {
  EXPECT_EQ(to_json(version(2)),
            json::parse(R"({"image": "win11", "number": 2, "parent": 1, "state": "arriving",
      "uuid": "00000000-0000-0000-0000-000000000000",
      "manifest": "0000000000000000000000000000000000000000000000000000000000000000",
      "message": "m", "published": "2023-11-14T22:13:20Z", "entries": 12, "file_bytes": 1000,
      "data_bytes": 900})"));
  EXPECT_TRUE(to_json(version(1))["parent"].is_null());
}

TEST_F(CatalogRoutes, ListImagesWithTheirLatest) {
  EXPECT_EQ(get({})->body, json::parse(R"({"images": [
      {"name": "empty", "versions": 0, "latest": null, "tags": {}},
      {"name": "win11", "versions": 2, "latest": 2, "tags": {"stable": 1}}]})"));
}

TEST_F(CatalogRoutes, ListVersionsOfAnImageExtendedByTheNode) {
  const json body = get({"win11"})->body;
  EXPECT_EQ(body["name"], "win11");
  ASSERT_EQ(body["versions"].size(), 2u);
  EXPECT_FALSE(body["versions"][0].contains("progress"));
  EXPECT_EQ(body["versions"][1]["progress"]["bytes_done"], 7);
}

TEST_F(CatalogRoutes, ShowTheTags) {
  const json body = get({"win11"})->body;
  EXPECT_EQ(body["tags"], json({{"stable", 1}}));
  EXPECT_EQ(body["versions"][0]["tags"], json({"stable"}));
  EXPECT_EQ(body["versions"][1]["tags"], json::array());
}

TEST_F(CatalogRoutes, ShowAVersionByAnyOfItsNames) {
  EXPECT_EQ(get({"win11", "versions", "1"})->body["number"], 1);
  EXPECT_EQ(get({"win11", "versions", "stable"})->body["number"], 1);
  EXPECT_EQ(get({"win11", "versions", "current"})->body["number"], 2);
  EXPECT_EQ(get({"win11", "versions", "latest"})->body["number"], 2);
}

TEST_F(CatalogRoutes, NameWhatIsNotThere) {
  for (const auto& path : std::vector<std::vector<std::string>>{
           {"win12"}, {"win11", "versions", "3"}, {"empty", "versions", "latest"}}) {
    const auto response = get(path);
    ASSERT_FALSE(response);
    EXPECT_EQ(response.error().code(), ErrorCode::not_found);
    EXPECT_NE(response.error().message().find(path.front()), std::string::npos);
  }
}

TEST_F(CatalogRoutes, RefuseANameThatIsNone) {
  for (const std::string number : {"0", "01", "-1", "", "99999999999"})
    EXPECT_EQ(get({"win11", "versions", number}).error().code(), ErrorCode::invalid_argument)
        << number;
}

}  // namespace
}  // namespace icbd::rest
