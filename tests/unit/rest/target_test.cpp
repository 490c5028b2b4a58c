#include "target.h"

#include <gtest/gtest.h>

namespace icbd::rest {
namespace {

TEST(Target, IsSplitAndDecoded) {
  const auto target = parse_target("/api/images/win%31%31?state=com%20plete&q=a+b&flag");
  ASSERT_TRUE(target) << target.error().message();
  EXPECT_EQ(target->path, (std::vector<std::string>{"api", "images", "win11"}));
  using Pair = std::pair<std::string, std::string>;
  EXPECT_EQ(target->query, (std::vector<Pair>{{"state", "com plete"}, {"q", "a b"}, {"flag", ""}}));
}

TEST(Target, TheRootHasNoSegments) {
  const auto target = parse_target("/");
  ASSERT_TRUE(target);
  EXPECT_TRUE(target->path.empty());
}

TEST(Target, PlusStandsForItselfInAPath) {
  EXPECT_EQ(parse_target("/a+b")->path.front(), "a+b");
}

TEST(Target, RefusesWhatCouldBeReadInTwoWays) {
  for (const std::string_view text :
       {"", "api", "//api", "/api/", "/api//images", "/api/./x", "/api/../x", "/api/%2e%2e/x",
        "/a%2Fb", "/a%00b", "/a%", "/a%4", "/a%4g", "/a%+4", "/a?b=%zz"}) {
    const auto target = parse_target(text);
    ASSERT_FALSE(target) << text;
    EXPECT_EQ(target.error().code(), ErrorCode::invalid_argument);
  }
}

TEST(BaseUrl, HasHostAndPort) {
  EXPECT_EQ(parse_base_url("http://127.0.0.1:5009")->port, "5009");
  EXPECT_EQ(parse_base_url("http://imgs.example/")->host, "imgs.example");
  EXPECT_EQ(parse_base_url("http://imgs.example")->port, "80");
  EXPECT_EQ(parse_base_url("http://[::1]:5009")->host, "::1");
  EXPECT_EQ(parse_base_url("http://[::1]:5009")->port, "5009");
}

TEST(BaseUrl, RefusesWhatIsNotOne) {
  for (const std::string_view text :
       {"", "127.0.0.1:5009", "http://", "http://:5009", "http://host:", "http://host:x",
        "http://host:70000", "http://host/path", "http://user@host", "ftp://host"})
    EXPECT_FALSE(parse_base_url(text)) << text;
  EXPECT_EQ(parse_base_url("https://host").error().code(), ErrorCode::unsupported);
}

}  // namespace
}  // namespace icbd::rest
