// Running other programs to their end.
#pragma once

#include <string>
#include <vector>

#include "icbd/base/error.h"

namespace icbd::harness {

struct RunResult {
  int exit_code = 0;   // 128 + signal if it was killed
  std::string output;  // stdout and stderr together, as they came
};

// Runs a program (found in PATH) without a shell, stdin from /dev/null. An error only if it could
// not be started; a failing program is a result.
Result<RunResult> run(const std::vector<std::string>& arguments);
// Runs a script with `sh -e -u -c`.
Result<RunResult> shell(const std::string& script);
// As run and shell, for steps that have to work: an error that quotes the output otherwise.
Result<std::string> run_checked(const std::vector<std::string>& arguments);
Result<std::string> shell_checked(const std::string& script);

}  // namespace icbd::harness
