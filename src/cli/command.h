// A command of `icbd`: what --help says of it, and what it does.
//
// Purpose: one file per command, which defines its arguments and returns what runs it. The table of
// all commands is what the command line, the completion and "did you mean" go through.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "icbd/base/error.h"
#include "icbd/cli/cli.h"
#include "icbd/cli/terminal.h"
#include "icbd/rest/http.h"

#include "arguments.h"

namespace icbd::cli {

// What every command has that asks a server.
struct Context {
  const rest::HttpClient& server;
  const Terminal& terminal;
  const Surroundings& surroundings;
  bool json = false;  // print the server's answer and nothing else
};

// What a command has that needs no server.
struct Place {
  const Terminal& terminal;
  const Surroundings& surroundings;
  const std::string& server_url;
  bool json = false;
};

using AskServer = std::function<Status(const Context&)>;
using WorkHere = std::function<Result<int>(const Place&)>;  // the exit code
using Action = std::variant<AskServer, WorkHere>;

// Headings in --help, in this order.
inline constexpr std::string_view group_looking = "Looking";
inline constexpr std::string_view group_versions = "Versions";
inline constexpr std::string_view group_subscriptions = "Subscriptions";
inline constexpr std::string_view group_here = "Here";

struct Command {
  std::string_view group;
  std::string_view name;
  std::string_view summary;
  // Adds arguments and returns what is to be done with them, once they are parsed.
  Action (*define)(Arguments& arguments);
  // What it ends with when its arguments are wrong.
  int usage_code = exit_usage;
};

// All of them, in the order of --help.
std::span<const Command> commands();

Action define_adopt(Arguments& arguments);
Action define_completion(Arguments& arguments);
Action define_config(Arguments& arguments);
Action define_doctor(Arguments& arguments);
Action define_drop(Arguments& arguments);
Action define_fsck(Arguments& arguments);
Action define_holds(Arguments& arguments);
Action define_list(Arguments& arguments);
Action define_pin(Arguments& arguments);
Action define_publish(Arguments& arguments);
Action define_pull(Arguments& arguments);
Action define_push(Arguments& arguments);
Action define_receive(Arguments& arguments);
Action define_send(Arguments& arguments);
Action define_show(Arguments& arguments);
Action define_status(Arguments& arguments);
Action define_subscribe(Arguments& arguments);
Action define_subscriptions(Arguments& arguments);
Action define_tag(Arguments& arguments);
Action define_unpin(Arguments& arguments);
Action define_unsubscribe(Arguments& arguments);
Action define_untag(Arguments& arguments);
Action define_upgrade(Arguments& arguments);
Action define_verify(Arguments& arguments);
Action define_wait(Arguments& arguments);

}  // namespace icbd::cli
