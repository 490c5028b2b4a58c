// Another program, run to its end.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "icbd/base/error.h"

namespace icbd::repository {

struct ChildOptions {
  // Looked at several times a second: the program is killed when somebody has set it.
  const std::atomic<bool>* cancelled = nullptr;
  // Gets each piece of standard output as it comes, instead of the result.
  std::function<void(std::string_view piece)> on_output = {};
};

struct ChildResult {
  int exit_code = 0;   // 128 + signal if it was killed; 127 if there is no such program
  std::string output;  // at most 1 MiB of each is kept
  std::string errors;
};

// Looks for the program in PATH; no shell is involved, and its messages are English (LC_ALL=C).
// Standard input is /dev/null. The kernel kills it should this process die. An error only if it
// could not be started, or `cancelled`.
Result<ChildResult> run_child(const std::vector<std::string>& arguments,
                              const ChildOptions& options = {});

}  // namespace icbd::repository
