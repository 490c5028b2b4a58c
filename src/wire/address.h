// TCP addresses as people write them, and the options that every connection gets.
#pragma once

#include <string>
#include <string_view>

#include "icbd/base/error.h"

namespace icbd::wire {

struct HostAndPort {
  std::string host;  // without brackets
  std::string port;
};
// "127.0.0.1:5010", "[::1]:5010" or "imgs.example:5010"; the port is 0 … 65535.
Result<HostAndPort> parse_address(std::string_view address);

// What this node calls itself where its configuration gives no name.
std::string local_host_name();

// No delay, keep-alive, large buffers.
void tune_connection(int socket);

}  // namespace icbd::wire
