// Routes: which function answers which method and path.
//
// Lifecycle: add() everything, then hand it to an HttpServer as its Handler. Const calls are
// thread-safe. A path that no pattern fits is `not_found`; one that fits with another method is
// answered 405.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "icbd/base/error.h"
#include "icbd/rest/http.h"

namespace icbd::rest {

class Router {
 public:
  // What stood in the place of {image} and the like, by name.
  using Parameters = std::map<std::string, std::string, std::less<>>;
  using Answer = std::function<Result<Response>(const Request&, const Parameters&)>;

  // add("GET", "/api/images/{image}/versions/{version}", …)
  void add(std::string method, std::string_view pattern, Answer answer);
  Result<Response> operator()(const Request& request) const;

 private:
  struct Route {
    std::string method;
    std::vector<std::string> segments;  // "{name}" fits any one segment
    Answer answer;
  };
  std::vector<Route> routes_;
};

}  // namespace icbd::rest
