// systemd's readiness protocol: a datagram to the socket that NOTIFY_SOCKET names.
#pragma once

#include <string_view>

#include "icbd/base/error.h"

namespace icbd {

// Sends "READY=1" or the like; does nothing if no service manager asked for it.
Status notify_service_manager(std::string_view state);

}  // namespace icbd
