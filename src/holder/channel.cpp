#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <string_view>

#include "icbd/base/service_manager.h"
#include "icbd/holder/holder.h"

#include "turn_message.h"

namespace icbd::holder {

// A variable that was meant for a parent is inherited: it names the process it is from.
std::unique_ptr<Channel> Channel::open() {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nothing here sets variables of the environment.
  const char* const value = std::getenv(channel_variable);
  const std::string_view text = value == nullptr ? "" : value;
  const auto colon = text.find(':');
  if (colon == std::string_view::npos) return nullptr;
  pid_t holder = 0;
  int socket = -1;
  std::from_chars(text.data(), text.data() + colon, holder);
  std::from_chars(text.data() + colon + 1, text.data() + text.size(), socket);
  if (holder != ::getppid() || socket < 0 || ::fcntl(socket, F_SETFD, FD_CLOEXEC) != 0)
    return nullptr;
  return std::unique_ptr<Channel>(new Channel(unique_fd(socket)));
}

Result<Turn> Channel::wait() const {
  ICBD_TRY(notify_service_manager("X_PREPARED=1"));
  for (;;) {
    ICBD_ASSIGN(auto received, receive_from_holder(socket_.get(), true));
    if (received && received->turn) return std::move(*received->turn);
  }
}

Channel::UpgradeFailures Channel::upgrade_failures() {
  const std::lock_guard lock(mutex_);
  for (;;) {
    const auto message = receive_from_holder(socket_.get(), false).value_or(std::nullopt);
    if (!message) return upgrade_failures_;
    ++upgrade_failures_.count;
    upgrade_failures_.last = message->upgrade_failure;
  }
}

}  // namespace icbd::holder
