#include "harness/run.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "harness/child_process.h"

namespace icbd::harness {

Result<RunResult> run(const std::vector<std::string>& arguments) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return fail_errno("make a pipe");
  const unique_fd read_end(ends[0]);
  unique_fd write_end(ends[1]);
  ICBD_ASSIGN(const pid_t child,
              spawn(arguments, {.output_fd = write_end.get(), .error_fd = write_end.get()}));
  write_end.reset();
  RunResult result;
  std::array<char, 4096> piece;
  while (true) {
    const ssize_t got = read(read_end.get(), piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    result.output.append(piece.data(), static_cast<std::size_t>(got));
  }
  ICBD_ASSIGN(result.exit_code, wait_for(child));
  return result;
}

Result<RunResult> shell(const std::string& script) {
  return run({"sh", "-e", "-u", "-c", script});
}

Result<std::string> run_checked(const std::vector<std::string>& arguments) {
  ICBD_ASSIGN(auto result, run(arguments));
  if (result.exit_code != 0)
    return fail(ErrorCode::io, fmt::format("\"{}\" ended with {}: {}", fmt::join(arguments, " "),
                                           result.exit_code, result.output));
  return std::move(result.output);
}

Result<std::string> shell_checked(const std::string& script) {
  return run_checked({"sh", "-e", "-u", "-c", script});
}

}  // namespace icbd::harness
