#include "icbd/rest/router.h"

#include <gtest/gtest.h>

namespace icbd::rest {
namespace {

Request request(std::string method, std::vector<std::string> path) {
  return {.method = std::move(method), .path = std::move(path), .query = {}, .body = nullptr};
}

// Answers with its own name and the parameters it got.
Router::Answer named(const std::string& name) {
  return [name](const Request&, const Router::Parameters& parameters) {
    return Response{.body = {{"route", name}, {"parameters", parameters}}};
  };
}

struct RouterTest : ::testing::Test {
  RouterTest() {
    router.add("GET", "/api/status", named("status"));
    router.add("GET", "/api/images/{image}", named("image"));
    router.add("GET", "/api/images/{image}/versions/{version}", named("version"));
    router.add("POST", "/api/images/{image}/versions", named("publish"));
  }
  Router router;
};

TEST_F(RouterTest, FindsARouteAndItsParameters) {
  const auto response = router(request("GET", {"api", "images", "win11", "versions", "3"}));
  ASSERT_TRUE(response);
  EXPECT_EQ(response->body["route"], "version");
  EXPECT_EQ(response->body["parameters"], (nlohmann::json{{"image", "win11"}, {"version", "3"}}));
}

TEST_F(RouterTest, APathThatNoPatternFitsIsNotFound) {
  for (const auto& path : std::vector<std::vector<std::string>>{
           {}, {"api"}, {"api", "status", "x"}, {"api", "images"}}) {
    const auto response = router(request("GET", path));
    ASSERT_FALSE(response);
    EXPECT_EQ(response.error().code(), ErrorCode::not_found);
  }
}

TEST_F(RouterTest, AnotherMethodIsAnswered405NamingTheRightOne) {
  for (const std::string method : {"HEAD", "DELETE", "BREW"}) {
    const auto response = router(request(method, {"api", "images", "win11", "versions"}));
    ASSERT_TRUE(response);
    EXPECT_EQ(response->status, 405);
    EXPECT_NE(response->body["error"]["message"].get<std::string>().find("POST"),
              std::string::npos);
  }
}

}  // namespace
}  // namespace icbd::rest
