// Another program, run to its end.
//
// Purpose: the tools that others write and we do not write again (qemu-img, ssh). Found in PATH,
// started without a shell; its messages are English (LC_ALL=C), its standard input is /dev/null.
// Guarantees: it does not outlive this process, which the kernel sees to, nor an error of whoever
// takes its output: then it is killed. A slow taker slows it down, by the pipe between them.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "icbd/base/error.h"

namespace icbd {

struct ChildOptions {
  // Looked at several times a second: the program is killed when somebody has set it.
  const std::atomic<bool>* cancelled = nullptr;
  // Gets each piece of standard output as it comes, instead of the result. An error ends the
  // program and is returned.
  std::function<Status(std::string_view piece)> on_output = {};
  // timed_out if it writes nothing for so long; 0: it may be silent.
  std::chrono::milliseconds longest_silence{0};
};

struct ChildResult {
  int exit_code = 0;   // 128 + signal if it was killed; 127 if there is no such program
  std::string output;  // the first MiB of it
  std::string errors;  // the last of it, at most 64 KiB
};

// An error only if it could not be started, fell silent, or was not wanted any more.
Result<ChildResult> run_child(const std::vector<std::string>& arguments,
                              const ChildOptions& options = {});

}  // namespace icbd
