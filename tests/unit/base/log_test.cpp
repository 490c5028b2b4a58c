#include "icbd/base/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace icbd {
namespace {

TEST(Logger, SpeaksFromItsLevelUp) {
  for (const auto& [name, level] : {std::pair("debug", spdlog::level::debug),
                                    {"info", spdlog::level::info},
                                    {"warning", spdlog::level::warn},
                                    {"error", spdlog::level::err}}) {
    const auto logger = make_logger("icbd", name);
    ASSERT_TRUE(logger) << name;
    EXPECT_EQ((*logger)->level(), level);
  }
}

TEST(Logger, TakesAnotherLevelWhileItIsUsed) {
  const auto logger = make_logger("icbd", "info");
  ASSERT_TRUE(logger);
  const Logger copy = *logger;
  EXPECT_TRUE(set_level(**logger, "debug"));
  EXPECT_EQ(copy->level(), spdlog::level::debug);
  EXPECT_FALSE(set_level(**logger, "loud"));
  EXPECT_EQ(copy->level(), spdlog::level::debug);
}

TEST(Logger, KnowsNoOtherLevels) {
  const auto logger = make_logger("icbd", "loud");
  ASSERT_FALSE(logger);
  EXPECT_EQ(logger.error().code(), ErrorCode::invalid_argument);
  EXPECT_THAT(logger.error().message(), ::testing::HasSubstr("\"loud\""));
}

}  // namespace
}  // namespace icbd
