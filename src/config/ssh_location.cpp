#include "icbd/config/ssh_location.h"

#include <algorithm>
#include <charconv>

#include "icbd/base/limits.h"

#include "address.h"

namespace icbd::config {
namespace {

constexpr std::string_view scheme = "ssh://";
// Linux: LOGIN_NAME_MAX.
constexpr std::size_t user_length_max = 256;

std::unexpected<Error> malformed() {
  return fail(ErrorCode::invalid_argument,
              "must be ssh://USER@HOST:PORT/PATH (USER and PORT may be left out), for example "
              "ssh://backup@disks.example/srv/snapshots");
}

bool is_user(std::string_view user) {
  return !user.empty() && user.size() <= user_length_max && !user.starts_with('-') &&
         std::ranges::all_of(user, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '.' || c == '-' || c == '_' || c == '@';
         });
}

bool is_path(std::string_view path) {
  return !path.empty() && path.size() < limits::path_length &&
         std::ranges::none_of(
             path, [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; });
}

// "disks.example", "disks.example:2222", "[fd00::1]:2222"
bool take_host(std::string_view text, SshLocation& location) {
  constexpr std::string_view any_port = ":1";  // addresses are judged with one
  const bool bracketed = text.starts_with('[');
  const std::size_t end = bracketed ? text.find(']') + 1 : text.find(':');
  const std::string_view host = text.substr(0, end);
  if (host.starts_with('-') || !address_fault(std::string(host).append(any_port), false).empty())
    return false;
  location.host = bracketed ? host.substr(1, host.size() - 2) : host;
  const std::string_view rest = text.substr(std::min(end, text.size()));
  if (rest.empty()) return true;
  const char* const last = rest.data() + rest.size();
  const auto [stop, error] = std::from_chars(rest.data() + 1, last, location.port);
  return rest.starts_with(':') && error == std::errc() && stop == last && location.port != 0;
}

}  // namespace

Result<SshLocation> parse_ssh_location(std::string_view text) {
  if (!text.starts_with(scheme)) return malformed();
  text.remove_prefix(scheme.size());
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) return malformed();
  SshLocation location;
  location.path = text.substr(slash);
  std::string_view machine = text.substr(0, slash);
  if (const std::size_t at = machine.rfind('@'); at != std::string_view::npos) {
    location.user = machine.substr(0, at);
    if (!is_user(location.user)) return malformed();
    machine.remove_prefix(at + 1);
  }
  if (!take_host(machine, location) || !is_path(location.path)) return malformed();
  return location;
}

}  // namespace icbd::config
