#include "icbd/base/error.h"

#include <fmt/format.h>

#include <cerrno>
#include <system_error>

namespace icbd {
namespace {

ErrorCode code_from_errno(int errno_value) {
  switch (errno_value) {
    case ENOENT:
    case ENOTDIR:
    case ESTALE:
    case ENODATA:
      return ErrorCode::not_found;
    case EEXIST:
    case ENOTEMPTY:
      return ErrorCode::already_exists;
    case EACCES:
    case EPERM:
    case EROFS:
      return ErrorCode::permission_denied;
    case EINVAL:
    case ENAMETOOLONG:
    case ELOOP:
      return ErrorCode::invalid_argument;
    case ENOSPC:
    case EDQUOT:
      return ErrorCode::no_space;
    case EBUSY:
    case ETXTBSY:
      return ErrorCode::busy;
    case ETIMEDOUT:
      return ErrorCode::timed_out;
    case ECONNREFUSED:
    case ECONNRESET:
    case ECONNABORTED:
    case EPIPE:
    case ENETUNREACH:
    case EHOSTUNREACH:
    case ENOTCONN:
      return ErrorCode::unavailable;
    case EOPNOTSUPP:
    case ENOTTY:
    case ENOSYS:
      return ErrorCode::unsupported;
    case EFBIG:
    case E2BIG:
    case EOVERFLOW:
    case ERANGE:
      return ErrorCode::too_large;
    case ECANCELED:
      return ErrorCode::cancelled;
    default:
      return ErrorCode::io;
  }
}

}  // namespace

std::string_view to_string(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument:
      return "invalid_argument";
    case ErrorCode::not_found:
      return "not_found";
    case ErrorCode::already_exists:
      return "already_exists";
    case ErrorCode::permission_denied:
      return "permission_denied";
    case ErrorCode::unavailable:
      return "unavailable";
    case ErrorCode::timed_out:
      return "timed_out";
    case ErrorCode::cancelled:
      return "cancelled";
    case ErrorCode::corrupt:
      return "corrupt";
    case ErrorCode::unsupported:
      return "unsupported";
    case ErrorCode::too_large:
      return "too_large";
    case ErrorCode::no_space:
      return "no_space";
    case ErrorCode::busy:
      return "busy";
    case ErrorCode::io:
      return "io";
    case ErrorCode::internal:
      return "internal";
  }
  return "internal";
}

std::optional<ErrorCode> parse_error_code(std::string_view name) {
  for (int number = 0; number <= static_cast<int>(ErrorCode::internal); ++number) {
    const auto code = static_cast<ErrorCode>(number);
    if (to_string(code) == name) return code;
  }
  return std::nullopt;
}

Error Error::from_errno(std::string_view what, int errno_value) {
  return Error(code_from_errno(errno_value),
               fmt::format("{}: {}", what, std::generic_category().message(errno_value)),
               errno_value);
}

Error Error::with_context(std::string_view context) const {
  return Error(code_, fmt::format("{}: {}", context, message_), errno_value_);
}

int to_errno(const Error& error) {
  if (error.errno_value() != 0) return error.errno_value();
  switch (error.code()) {
    case ErrorCode::invalid_argument:
      return EINVAL;
    case ErrorCode::not_found:
      return ENOENT;
    case ErrorCode::already_exists:
      return EEXIST;
    case ErrorCode::permission_denied:
      return EACCES;
    case ErrorCode::unsupported:
      return EOPNOTSUPP;
    case ErrorCode::too_large:
      return EFBIG;
    case ErrorCode::no_space:
      return ENOSPC;
    case ErrorCode::busy:
      return EBUSY;
    // A reader cannot tell these apart, and programs expect EIO for "the bytes cannot be had".
    case ErrorCode::unavailable:
    case ErrorCode::timed_out:
    case ErrorCode::cancelled:
    case ErrorCode::corrupt:
    case ErrorCode::io:
    case ErrorCode::internal:
      return EIO;
  }
  return EIO;
}

std::unexpected<Error> fail_errno(std::string_view what) {
  return fail_errno(what, errno);
}

std::unexpected<Error> fail_errno(std::string_view what, int errno_value) {
  return std::unexpected(Error::from_errno(what, errno_value));
}

}  // namespace icbd
