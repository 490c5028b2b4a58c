#include "icbd/base/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <memory>
#include <set>

namespace icbd {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(ErrorCodeNames, AreDistinctAndParseBack) {
  std::set<std::string_view> names;
  for (int number = 0; number <= static_cast<int>(ErrorCode::internal); ++number) {
    const auto code = static_cast<ErrorCode>(number);
    EXPECT_TRUE(names.insert(to_string(code)).second) << to_string(code);
    EXPECT_EQ(parse_error_code(to_string(code)), code);
  }
  EXPECT_EQ(to_string(ErrorCode::not_found), "not_found");
  EXPECT_EQ(parse_error_code("not_foun"), std::nullopt);
  EXPECT_EQ(parse_error_code(""), std::nullopt);
}

TEST(ErrorFromErrno, HasTheCodeThatCallersDecideBy) {
  const std::vector<std::pair<int, ErrorCode>> expected = {{ENOENT, ErrorCode::not_found},
                                                           {ESTALE, ErrorCode::not_found},
                                                           {EEXIST, ErrorCode::already_exists},
                                                           {ENOTEMPTY, ErrorCode::already_exists},
                                                           {EACCES, ErrorCode::permission_denied},
                                                           {EPERM, ErrorCode::permission_denied},
                                                           {EROFS, ErrorCode::permission_denied},
                                                           {EINVAL, ErrorCode::invalid_argument},
                                                           {ENOSPC, ErrorCode::no_space},
                                                           {EDQUOT, ErrorCode::no_space},
                                                           {EBUSY, ErrorCode::busy},
                                                           {ETIMEDOUT, ErrorCode::timed_out},
                                                           {ECONNREFUSED, ErrorCode::unavailable},
                                                           {EPIPE, ErrorCode::unavailable},
                                                           {EOPNOTSUPP, ErrorCode::unsupported},
                                                           {ENOTTY, ErrorCode::unsupported},
                                                           {EFBIG, ErrorCode::too_large},
                                                           {EIO, ErrorCode::io},
                                                           {EBADF, ErrorCode::io}};
  for (const auto& [number, code] : expected) {
    const Error error = Error::from_errno("open /x", number);
    EXPECT_EQ(error.code(), code) << number;
    EXPECT_EQ(error.errno_value(), number);
    EXPECT_THAT(error.message(), StartsWith("open /x: "));
  }
}

TEST(ErrorToErrno, GivesTheOriginalBack) {
  EXPECT_EQ(to_errno(Error::from_errno("read", ENODATA)), ENODATA);
  EXPECT_EQ(to_errno(Error::from_errno("read", ENODATA).with_context("more")), ENODATA);
}

TEST(ErrorToErrno, TellsReadersApartOnlyWhatTheyCanUse) {
  EXPECT_EQ(to_errno(Error(ErrorCode::not_found, "")), ENOENT);
  EXPECT_EQ(to_errno(Error(ErrorCode::no_space, "")), ENOSPC);
  for (const ErrorCode code : {ErrorCode::unavailable, ErrorCode::timed_out, ErrorCode::cancelled,
                               ErrorCode::corrupt, ErrorCode::io, ErrorCode::internal})
    EXPECT_EQ(to_errno(Error(code, "")), EIO);
}

TEST(ErrorContext, IsPutBeforeTheMessage) {
  const Error error = Error::from_errno("open /x", ENOENT).with_context("publish win11");
  EXPECT_THAT(error.message(), StartsWith("publish win11: open /x: "));
  EXPECT_EQ(error.code(), ErrorCode::not_found);
}

TEST(FailErrno, ReadsErrno) {
  errno = ENOSPC;
  const Status status = fail_errno("write");
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), ErrorCode::no_space);
  EXPECT_THAT(status.error().message(), HasSubstr("No space left"));
}

Result<std::unique_ptr<int>> number_or(bool succeed) {
  if (!succeed) return fail(ErrorCode::busy, "in use");
  return std::make_unique<int>(7);
}

Result<int> add_one(bool succeed, int& evaluated) {
  ICBD_TRY((++evaluated, number_or(true)));
  ICBD_ASSIGN(const std::unique_ptr<int> number, (++evaluated, number_or(succeed)));
  return *number + 1;
}

TEST(Macros, PassErrorsOnAndEvaluateOnce) {
  int evaluated = 0;
  EXPECT_EQ(add_one(true, evaluated).value(), 8);
  EXPECT_EQ(evaluated, 2);
  EXPECT_EQ(add_one(false, evaluated).error().code(), ErrorCode::busy);
  EXPECT_EQ(evaluated, 4);
}

}  // namespace
}  // namespace icbd
