// What the holder sends to a worker whose turn it is, or whose replacement has failed.
//
// One message of a SOCK_SEQPACKET pair: "NAME=VALUE" lines, and descriptors.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "icbd/base/error.h"
#include "icbd/base/unique_fd.h"
#include "icbd/holder/holder.h"

namespace icbd::holder {

// The environment's name for the holder's process number and the socket's descriptor, "123:4".
inline constexpr const char* channel_variable = "ICBD_HOLDER";
inline constexpr std::size_t most_descriptors = 16;

struct NamedDescriptor {
  std::string name;
  int descriptor = -1;
};
Status send_turn(int socket, unsigned starts, const std::string& last_end,
                 const std::vector<NamedDescriptor>& descriptors);
Status send_upgrade_failure(int socket, const std::string& why);

struct Received {
  std::optional<Turn> turn;
  std::string upgrade_failure;
};
// Waits for a message, or returns nothing if there is none and `wait` is false. `cancelled` if the
// holder has closed its end.
Result<std::optional<Received>> receive_from_holder(int socket, bool wait);

}  // namespace icbd::holder
