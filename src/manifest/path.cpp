#include "path.h"

#include <algorithm>

#include "icbd/base/limits.h"
#include "icbd/manifest/manifest.h"

namespace icbd::manifest {

std::string_view path_fault(std::string_view path) {
  if (path.empty()) return "an empty path";
  if (path.size() > limits::path_length) return "a path over limits::path_length";
  if (path.find('\0') != std::string_view::npos) return "a NUL in the path";
  if (path.front() == '/') return "an absolute path";
  while (true) {
    const std::string_view component = path.substr(0, path.find('/'));
    if (component.empty()) return "an empty component in the path";
    if (component == "." || component == "..") return "\".\" or \"..\" in the path";
    if (component.size() > limits::name_length) return "a name over limits::name_length";
    if (component.size() == path.size()) return {};
    path.remove_prefix(component.size() + 1);
  }
}

bool path_less(std::string_view a, std::string_view b) {
  const auto [in_a, in_b] = std::ranges::mismatch(a, b);
  if (in_a == a.end() || in_b == b.end()) return a.size() < b.size();
  // The separator sorts before every other byte, so that what is in "x" comes before "x-y".
  if (*in_a == '/' || *in_b == '/') return *in_a == '/';
  return static_cast<unsigned char>(*in_a) < static_cast<unsigned char>(*in_b);
}

}  // namespace icbd::manifest
