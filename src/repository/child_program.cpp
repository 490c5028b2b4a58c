#include "child_program.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>

#include "icbd/base/unique_fd.h"

namespace icbd::repository {
namespace {

constexpr std::size_t kept_max = std::size_t{1} << 20;
constexpr int poll_milliseconds = 100;
constexpr int exit_no_program = 127;  // as shells have it
constexpr int exit_signal_base = 128;

struct Pipe {
  unique_fd read_end, write_end;
};

Result<Pipe> make_pipe() {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return fail_errno("make a pipe");
  return Pipe{.read_end = unique_fd(ends[0]), .write_end = unique_fd(ends[1])};
}

// What the child needs, made before fork(): between fork() and exec() a program with threads may
// not allocate (fork(2), signal-safety(7)).
struct Words {
  explicit Words(std::vector<std::string> texts) : texts_(std::move(texts)) {
    for (std::string& text : texts_) pointers_.push_back(text.data());
    pointers_.push_back(nullptr);
  }
  char** data() { return pointers_.data(); }

 private:
  std::vector<std::string> texts_;
  std::vector<char*> pointers_;
};

std::vector<std::string> english_environment() {
  std::vector<std::string> variables{"LC_ALL=C"};
  for (char** variable = environ; *variable; ++variable)
    if (!std::string_view(*variable).starts_with("LC_ALL=")) variables.emplace_back(*variable);
  return variables;
}

// Never returns. Only calls that are safe after fork(); glibc's execvpe() looks PATH up without
// allocating.
[[noreturn]] void become(Words& arguments, Words& environment, pid_t parent, int null_fd,
                         int output_fd, int errors_fd) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);  // NOLINT(concurrency-mt-unsafe): one thread is left
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() == parent && dup2(null_fd, STDIN_FILENO) >= 0 &&
      dup2(output_fd, STDOUT_FILENO) >= 0 && dup2(errors_fd, STDERR_FILENO) >= 0)
    execvpe(*arguments.data(), arguments.data(), environment.data());
  _exit(exit_no_program);
}

// Owns the process: killed and reaped if it was not waited for.
class Child {
 public:
  explicit Child(pid_t id) : id_(id) {}
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (id_ <= 0) return;
    kill(id_, SIGKILL);
    static_cast<void>(wait());
  }

  int wait() {
    int status = 0;
    while (waitpid(id_, &status, 0) < 0 && errno == EINTR) {
    }
    id_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : exit_signal_base + WTERMSIG(status);
  }

 private:
  pid_t id_;
};

void keep(std::string& text, std::string_view piece) {
  text += piece.substr(0, kept_max - std::min(kept_max, text.size()));
}

// False at the end of the pipe.
Result<bool> take_piece(int fd, std::string& text,
                        const std::function<void(std::string_view)>& sink) {
  std::array<char, 16384> buffer{};
  const ssize_t got = read(fd, buffer.data(), buffer.size());
  if (got < 0 && (errno == EINTR || errno == EAGAIN)) return true;
  if (got < 0) return fail_errno("read what a program says");
  const std::string_view piece(buffer.data(), static_cast<std::size_t>(got));
  if (sink)
    sink(piece);
  else
    keep(text, piece);
  return got > 0;
}

Status listen_to(Pipe& output, Pipe& errors, ChildResult& result, const ChildOptions& options) {
  std::array<pollfd, 2> ends{{{.fd = output.read_end.get(), .events = POLLIN, .revents = 0},
                              {.fd = errors.read_end.get(), .events = POLLIN, .revents = 0}}};
  while (ends[0].fd >= 0 || ends[1].fd >= 0) {
    if (options.cancelled && *options.cancelled)
      return fail(ErrorCode::cancelled, "it is not wanted any more");
    const int ready = poll(ends.data(), ends.size(), poll_milliseconds);
    if (ready < 0 && errno != EINTR) return fail_errno("wait for what a program says");
    if (ready <= 0) continue;
    if (ends[0].revents != 0) {
      ICBD_ASSIGN(const bool more, take_piece(ends[0].fd, result.output, options.on_output));
      if (!more) ends[0].fd = -1;
    }
    if (ends[1].revents != 0) {
      ICBD_ASSIGN(const bool more, take_piece(ends[1].fd, result.errors, {}));
      if (!more) ends[1].fd = -1;
    }
  }
  return {};
}

}  // namespace

Result<ChildResult> run_child(const std::vector<std::string>& arguments,
                              const ChildOptions& options) {
  Words words(arguments), environment(english_environment());
  ICBD_ASSIGN(Pipe output, make_pipe());
  ICBD_ASSIGN(Pipe errors, make_pipe());
  const unique_fd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null) return fail_errno("open /dev/null");
  const pid_t parent = getpid();
  const pid_t id = fork();
  if (id < 0) return fail_errno(fmt::format("start {}", arguments.front()));
  if (id == 0)
    become(words, environment, parent, null.get(), output.write_end.get(), errors.write_end.get());
  Child child(id);
  output.write_end.reset();
  errors.write_end.reset();
  ChildResult result;
  ICBD_TRY(listen_to(output, errors, result, options));
  result.exit_code = child.wait();
  return result;
}

}  // namespace icbd::repository
