// Where snapshots lie on a machine that is reached by ssh: "ssh://USER@HOST:PORT/PATH".
//
// USER and PORT may be left out. PATH is taken as it stands, spaces and all; nothing in it stands
// for something else. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "icbd/base/error.h"

namespace icbd::config {

struct SshLocation {
  std::string user;        // "" leaves it to ssh
  std::string host;        // IPv6 without its brackets
  std::uint16_t port = 0;  // 0 leaves it to ssh
  std::string path;        // absolute
  bool operator==(const SshLocation&) const = default;
};

// invalid_argument, with words that say what it must be.
Result<SshLocation> parse_ssh_location(std::string_view text);

}  // namespace icbd::config
