// Errors as values.
//
// Purpose: one error value for the whole project: what failed, on what, and why. Functions that
// can fail return Result<T>; nothing of ours throws across a folder boundary.
// Guarantees: an Error always has a code and a message for people; `errno_value` is set when a
// system call was the cause. It is turned into an errno for the kernel in to_errno() and into an
// HTTP status in rest/, and nowhere else.
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace icbd {

enum class ErrorCode {
  invalid_argument,   // the caller's input is malformed
  not_found,          // the thing that was named does not exist
  already_exists,     // the name or identity is taken
  permission_denied,  // not allowed, by the kernel or by policy
  unavailable,        // a peer cannot be reached now; trying again may help
  timed_out,          // a deadline passed
  cancelled,          // given up because the owner is stopping
  corrupt,            // bytes are not what their checksum, digest or format says
  unsupported,        // understood, but this build, kernel or peer cannot do it
  too_large,          // over one of the named limits
  no_space,           // the filesystem or quota is full
  busy,               // in use; would be allowed otherwise
  io,                 // a system call failed for another reason
  internal,           // a bug in icbd
};

// The code's name as it stands in JSON and on the wire, for example "not_found".
std::string_view to_string(ErrorCode code);
// The code of that name; none if this release does not know it.
std::optional<ErrorCode> parse_error_code(std::string_view name);

class Error {
 public:
  Error(ErrorCode code, std::string message, int errno_value = 0)
      : code_(code), errno_value_(errno_value), message_(std::move(message)) {}

  // For a system call that just failed: `what` names the call and its object, as in
  // "open /srv/icbd/win11/3". The code is derived from the errno.
  static Error from_errno(std::string_view what, int errno_value);

  ErrorCode code() const { return code_; }
  int errno_value() const { return errno_value_; }
  const std::string& message() const { return message_; }

  // The same error, with the surrounding step put before its message: "context: message".
  Error with_context(std::string_view context) const;

 private:
  ErrorCode code_;
  int errno_value_;
  std::string message_;
};

// The errno that the kernel is answered with: the original one if a system call was the cause.
int to_errno(const Error& error);

template <typename T>
using Result = std::expected<T, Error>;
using Status = Result<void>;

inline std::unexpected<Error> fail(ErrorCode code, std::string message) {
  return std::unexpected(Error(code, std::move(message)));
}
// Reads errno: call it right after the system call that failed.
std::unexpected<Error> fail_errno(std::string_view what);
std::unexpected<Error> fail_errno(std::string_view what, int errno_value);

}  // namespace icbd

#define ICBD_CONCAT_(a, b) a##b
#define ICBD_CONCAT(a, b) ICBD_CONCAT_(a, b)

// Returns the error of a Status or Result expression to the caller; drops its value.
#define ICBD_TRY(expression)                                  \
  do {                                                        \
    if (auto icbd_result = (expression); !icbd_result)        \
      return std::unexpected(std::move(icbd_result).error()); \
  } while (false)

// ICBD_ASSIGN(auto file, open_file(path)): declares and moves the value, or returns the error.
#define ICBD_ASSIGN(declaration, expression) \
  ICBD_ASSIGN_(ICBD_CONCAT(icbd_result_, __LINE__), declaration, expression)
#define ICBD_ASSIGN_(result, declaration, expression)             \
  auto result = (expression);                                     \
  if (!result) return std::unexpected(std::move(result).error()); \
  declaration = std::move(*result)
