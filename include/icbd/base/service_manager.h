// systemd's notification protocol (sd_notify(3)): datagrams to the socket that NOTIFY_SOCKET names.
// Spoken here in a few lines, so that no library is loaded for it. icbd's own holder understands it
// too.
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

#include "icbd/base/error.h"

namespace icbd {

// Sends "READY=1" or the like; does nothing if no service manager asked for it. Several assignments
// are separated by line breaks.
Status notify_service_manager(std::string_view state);
// The manager keeps a copy under that name, for whichever process comes next
// (sd_pid_notify_with_fds(3)).
Status keep_descriptor(std::string_view name, int descriptor);

// How long the service manager waits for "WATCHDOG=1" before it takes this process for hung, as
// sd_watchdog_enabled(3) finds it. Nothing if it does not watch this process.
std::optional<std::chrono::microseconds> watchdog_timeout();

}  // namespace icbd
