// The target of a request line, decoded strictly.
//
// Pure. A "%" that is not followed by two hexadecimal digits, an encoded "/" or zero byte, an
// empty segment, "." and ".." are errors, so that no two ways of reading a path can differ.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "icbd/base/error.h"

namespace icbd::rest {

struct Target {
  std::vector<std::string> path;
  std::vector<std::pair<std::string, std::string>> query;
};
// "/api/images/win11?state=complete"
Result<Target> parse_target(std::string_view text);

struct BaseUrl {
  std::string host;  // without brackets
  std::string port;
};
// "http://127.0.0.1:5009", "http://[::1]:5009/", "http://imgs.example"
Result<BaseUrl> parse_base_url(std::string_view text);

}  // namespace icbd::rest
