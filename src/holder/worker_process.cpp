#include "worker_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "turn_message.h"

namespace icbd::holder {
namespace {

constexpr int failed = 127;

[[noreturn]] void die(const char* what) {
  std::perror(what);
  _exit(failed);
}

void set(const char* name, const std::string& value) {
  ::setenv(name, value.c_str(), 1);  // NOLINT(concurrency-mt-unsafe): the holder has one thread
}

// What execve(2) would do: nothing of the holder's stays open.
void let_go_of_the_holders_descriptors(int channel) {
  ::close_range(STDERR_FILENO + 1, static_cast<unsigned>(channel) - 1, 0);
  ::close_range(static_cast<unsigned>(channel) + 1, ~0u, 0);
}

[[noreturn]] void execute(const WorkerSettings& settings) {
  std::vector<char*> arguments;
  arguments.reserve(settings.arguments.size() + 1);
  for (const std::string& argument : settings.arguments)
    arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  // Not by its name: what the holder was started from may have been replaced since.
  ::execveat(settings.program, "", arguments.data(), environ, AT_EMPTY_PATH);
  die("execute a worker");
}

// In the child. That may do more than call the system, because the holder has one thread.
[[noreturn]] void run(const WorkerSettings& settings, pid_t holder, int channel) {
  // A worker without a holder would serve a mount that nobody can take over.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != holder) _exit(failed);
  sigset_t none{};
  sigemptyset(&none);
  pthread_sigmask(SIG_SETMASK, &none, nullptr);
  if (::fcntl(channel, F_SETFD, 0) != 0) die("keep the channel");
  set("NOTIFY_SOCKET", settings.notify_socket);
  set("WATCHDOG_USEC", fmt::format("{}", settings.silence.count()));
  set("WATCHDOG_PID", fmt::format("{}", ::getpid()));
  set(channel_variable, fmt::format("{}:{}", holder, channel));
  if (!settings.work) execute(settings);
  let_go_of_the_holders_descriptors(channel);
  std::exit((*settings.work)());  // NOLINT(concurrency-mt-unsafe): what work() began has ended
}

}  // namespace

Result<WorkerProcess> start_worker(const WorkerSettings& settings) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0)
    return fail_errno("make a channel to a worker");
  WorkerProcess worker;
  worker.channel = unique_fd(ends[0]);
  const unique_fd theirs(ends[1]);
  const pid_t holder = ::getpid();
  worker.process = ::fork();
  if (worker.process < 0) return fail_errno("start a worker");
  if (worker.process == 0) run(settings, holder, theirs.get());
  return worker;
}

}  // namespace icbd::holder
