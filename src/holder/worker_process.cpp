#include "worker_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

namespace icbd::holder {
namespace {

constexpr int first_descriptor = 3;  // SD_LISTEN_FDS_START
constexpr int out_of_the_way = 64;   // above everything that is kept

// Everything that the child needs, made before fork(): afterwards only system calls are safe in
// general; the holder has one thread, which makes setenv() and the like safe too.
class Child {
 public:
  explicit Child(const WorkerSettings& settings) : settings_(settings) {}

  [[noreturn]] void run(pid_t holder) {
    // A worker without a holder would serve a mount that nobody can take over.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != holder) _exit(failed);
    sigset_t none{};
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    set_environment(holder);
    const int program = ::fcntl(settings_.program, F_DUPFD_CLOEXEC, out_of_the_way);
    if (program < 0 || !place_descriptors()) die("descriptors");
    std::vector<char*> arguments;
    for (const std::string& argument : settings_.arguments)
      arguments.push_back(const_cast<char*>(argument.c_str()));
    arguments.push_back(nullptr);
    ::execveat(program, "", arguments.data(), environ, AT_EMPTY_PATH);
    die("execute");
  }

 private:
  static constexpr int failed = 127;

  [[noreturn]] static void die(const char* what) {
    std::perror(what);
    _exit(failed);
  }

  static void set(const char* name, const std::string& value) {
    ::setenv(name, value.c_str(), 1);  // NOLINT(concurrency-mt-unsafe): one thread
  }

  void set_environment(pid_t holder) const {
    const std::string own = fmt::format("{}", ::getpid());
    set("NOTIFY_SOCKET", settings_.notify_socket);
    set("WATCHDOG_USEC", fmt::format("{}", settings_.silence.count()));
    set("WATCHDOG_PID", own);
    std::string names;
    for (const auto& [name, descriptor] : settings_.kept)
      names += (names.empty() ? "" : ":") + name;
    set("LISTEN_PID", own);
    set("LISTEN_FDS", fmt::format("{}", settings_.kept.size()));
    set("LISTEN_FDNAMES", names);
    set("ICBD_HOLDER", fmt::format("{}", holder));
    set("ICBD_STARTS", fmt::format("{}", settings_.starts));
    set("ICBD_LAST_END", settings_.last_end);
  }

  // First out of the way, then to their places: they may be each other's.
  bool place_descriptors() const {
    std::vector<int> copies;
    for (const auto& [name, descriptor] : settings_.kept)
      copies.push_back(::fcntl(descriptor.get(), F_DUPFD_CLOEXEC, out_of_the_way));
    int place = first_descriptor;
    for (const int copy : copies)
      if (copy < 0 || ::dup2(copy, place++) < 0) return false;
    return true;
  }

  const WorkerSettings& settings_;
};

}  // namespace

Result<pid_t> start_worker(const WorkerSettings& settings) {
  Child child(settings);
  const pid_t holder = ::getpid();
  const pid_t process = ::fork();
  if (process < 0) return fail_errno("start a worker");
  if (process == 0) child.run(holder);
  return process;
}

}  // namespace icbd::holder
