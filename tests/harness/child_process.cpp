#include "harness/child_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

namespace icbd::harness {
namespace {

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

struct FileActions {
  FileActions() { posix_spawn_file_actions_init(&actions); }
  ~FileActions() { posix_spawn_file_actions_destroy(&actions); }
  posix_spawn_file_actions_t actions;
};

}  // namespace

Result<pid_t> spawn(const std::vector<std::string>& arguments, const SpawnOptions& options) {
  if (arguments.empty()) return fail(ErrorCode::invalid_argument, "no program was named");
  FileActions files;
  posix_spawn_file_actions_addopen(&files.actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  if (options.output_fd >= 0)
    posix_spawn_file_actions_adddup2(&files.actions, options.output_fd, STDOUT_FILENO);
  if (options.error_fd >= 0)
    posix_spawn_file_actions_adddup2(&files.actions, options.error_fd, STDERR_FILENO);

  std::vector<std::string> words = arguments;
  std::vector<std::string> environment = options.environment;
  for (char** variable = environ; *variable; ++variable) environment.emplace_back(*variable);
  pid_t child = -1;
  const int error = posix_spawnp(&child, words.front().c_str(), &files.actions, nullptr,
                                 pointers(words).data(), pointers(environment).data());
  if (error != 0) return fail_errno(fmt::format("start {}", arguments.front()), error);
  return child;
}

Result<int> wait_for(pid_t child) {
  int status = 0;
  pid_t reaped;
  do reaped = waitpid(child, &status, 0);
  while (reaped < 0 && errno == EINTR);
  if (reaped < 0) return fail_errno(fmt::format("wait for process {}", child));
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace icbd::harness
