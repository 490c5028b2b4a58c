// The protocols of a service manager, as systemd speaks them: notifications (sd_notify(3)) are
// datagrams to the socket that NOTIFY_SOCKET names; descriptors that it keeps for the next process
// (sd_pid_notify_with_fds(3)) come back as sd_listen_fds(3) says. Spoken here in a few lines, so
// that no library is loaded for it. icbd's own holder speaks them too.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "icbd/base/error.h"
#include "icbd/base/unique_fd.h"

namespace icbd {

// Sends "READY=1" or the like; does nothing if no service manager asked for it. Several assignments
// are separated by line breaks.
Status notify_service_manager(std::string_view state);
// The manager keeps a copy under that name, for whichever process comes next.
Status keep_descriptor(std::string_view name, int descriptor);

struct KeptDescriptor {
  std::string name;
  unique_fd descriptor;
};
// What an earlier process has given to keep. To be called once, before any thread is started: the
// numbers belong to the caller from then on.
std::vector<KeptDescriptor> kept_descriptors();

// How long the service manager waits for "WATCHDOG=1" before it takes this process for hung, as
// sd_watchdog_enabled(3) finds it. Nothing if it does not watch this process.
std::optional<std::chrono::microseconds> watchdog_timeout();

}  // namespace icbd
