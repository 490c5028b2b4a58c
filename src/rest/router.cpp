#include "icbd/rest/router.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <optional>

namespace icbd::rest {
namespace {

std::vector<std::string> split_pattern(std::string_view pattern) {
  std::vector<std::string> segments;
  while (pattern.starts_with('/')) {
    pattern.remove_prefix(1);
    const std::size_t end = pattern.find('/');
    segments.emplace_back(pattern.substr(0, end));
    pattern.remove_prefix(segments.back().size());
  }
  return segments;
}

bool is_parameter(std::string_view segment) {
  return segment.starts_with('{') && segment.ends_with('}');
}

std::optional<Router::Parameters> match(const std::vector<std::string>& segments,
                                        const std::vector<std::string>& path) {
  if (segments.size() != path.size()) return std::nullopt;
  Router::Parameters parameters;
  for (std::size_t i = 0; i < path.size(); ++i) {
    if (is_parameter(segments[i]))
      parameters.emplace(segments[i].substr(1, segments[i].size() - 2), path[i]);
    else if (segments[i] != path[i])
      return std::nullopt;
  }
  return parameters;
}

}  // namespace

void Router::add(std::string method, std::string_view pattern, Answer answer) {
  routes_.push_back({std::move(method), split_pattern(pattern), std::move(answer)});
}

Result<Response> Router::operator()(const Request& request) const {
  std::vector<std::string_view> allowed;
  for (const Route& route : routes_) {
    const auto parameters = match(route.segments, request.path);
    if (!parameters) continue;
    if (route.method == request.method) return route.answer(request, *parameters);
    allowed.push_back(route.method);
  }
  const std::string path = fmt::format("/{}", fmt::join(request.path, "/"));
  if (allowed.empty())
    return fail(ErrorCode::not_found,
                fmt::format("there is nothing at {} (what is asked of a master only, or of a "
                            "cache only, is not there on the other)",
                            path));
  constexpr int method_not_allowed = 405;
  return Response{method_not_allowed,
                  {{"error",
                    {{"code", "unsupported"},
                     {"message", fmt::format("{} does not take {}, only {}", path, request.method,
                                             fmt::join(allowed, ", "))}}}}};
}

}  // namespace icbd::rest
