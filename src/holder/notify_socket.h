// The manager's end of the notification protocol: what workers say.
//
// Lifecycle: open() takes a name of its own, which goes into NOTIFY_SOCKET of the workers. Whose
// message it is says the kernel: any process can send one.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "icbd/base/error.h"
#include "icbd/base/unique_fd.h"

namespace icbd::holder {

struct Message {
  pid_t sender = 0;
  // In the order in which they came.
  std::vector<std::pair<std::string, std::string>> assignments;
  unique_fd descriptor;

  // Empty if there is none.
  std::string value(std::string_view name) const;
  bool has(std::string_view name) const;
};

// "NAME=VALUE" lines; others are left out.
std::vector<std::pair<std::string, std::string>> parse_assignments(std::string_view text);

class NotifySocket {
 public:
  static Result<NotifySocket> open();

  int fd() const { return socket_.get(); }
  const std::string& name() const { return name_; }  // as NOTIFY_SOCKET wants it
  // The next message; nothing if none is waiting.
  std::optional<Message> receive() const;

 private:
  NotifySocket(unique_fd socket, std::string name)
      : socket_(std::move(socket)), name_(std::move(name)) {}
  unique_fd socket_;
  std::string name_;
};

}  // namespace icbd::holder
