#include "icbd/base/child_program.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <optional>
#include <span>

#include "icbd/base/unique_fd.h"

namespace icbd {
namespace {

constexpr std::size_t output_max = std::size_t{1} << 20;
constexpr std::size_t errors_max = std::size_t{64} << 10;
constexpr std::size_t piece_max = std::size_t{64} << 10;  // what a pipe holds (pipe(7))
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
  // Sockets that libraries accept have no O_CLOEXEC: who is at their other end would not notice
  // that we have closed them until this program has ended. (CLOSE_RANGE_CLOEXEC: Linux 5.11.)
  close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
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

// None at the end of the pipe; an empty piece if there is nothing just now.
Result<std::optional<std::string_view>> take_piece(int fd, std::span<char> buffer) {
  const ssize_t got = read(fd, buffer.data(), buffer.size());
  if (got < 0 && (errno == EINTR || errno == EAGAIN)) return std::string_view();
  if (got < 0) return fail_errno("read what a program says");
  if (got == 0) return std::nullopt;
  return std::string_view(buffer.data(), static_cast<std::size_t>(got));
}

// What a program writes to its two pipes, until it has closed both.
class Listener {
 public:
  Listener(const ChildOptions& options, ChildResult& result)
      : options_(options), result_(result), buffer_(piece_max) {}

  Status listen(const Pipe& output, const Pipe& errors) {
    std::array<pollfd, 2> ends{{{.fd = output.read_end.get(), .events = POLLIN, .revents = 0},
                                {.fd = errors.read_end.get(), .events = POLLIN, .revents = 0}}};
    while (ends[0].fd >= 0 || ends[1].fd >= 0) {
      if (options_.cancelled && *options_.cancelled)
        return fail(ErrorCode::cancelled, "it is not wanted any more");
      ICBD_TRY(check_silence());
      const int ready = poll(ends.data(), ends.size(), poll_milliseconds);
      if (ready < 0 && errno != EINTR) return fail_errno("wait for what a program says");
      if (ready <= 0) continue;
      if (ends[0].revents != 0) ICBD_TRY(take(ends[0], &Listener::take_output));
      if (ends[1].revents != 0) ICBD_TRY(take(ends[1], &Listener::take_errors));
    }
    return {};
  }

 private:
  Status take(pollfd& end, Status (Listener::*taker)(std::string_view)) {
    ICBD_ASSIGN(const auto piece, take_piece(end.fd, buffer_));
    if (!piece) {
      end.fd = -1;
      return {};
    }
    const Status taken = (this->*taker)(*piece);
    heard_ = std::chrono::steady_clock::now();  // afterwards: a slow taker is not its silence
    return taken;
  }

  Status take_output(std::string_view piece) {
    if (options_.on_output) return options_.on_output(piece);
    result_.output += piece.substr(0, output_max - std::min(output_max, result_.output.size()));
    return {};
  }

  Status take_errors(std::string_view piece) {
    std::string& errors = result_.errors;
    errors += piece;
    if (errors.size() > errors_max) errors.erase(0, errors.size() - errors_max);
    return {};
  }

  Status check_silence() const {
    const auto longest = options_.longest_silence;
    if (longest.count() == 0 || std::chrono::steady_clock::now() - heard_ < longest) return {};
    return fail(ErrorCode::timed_out,
                fmt::format("it has said nothing for {} s",
                            std::chrono::ceil<std::chrono::seconds>(longest).count()));
  }

  const ChildOptions& options_;
  ChildResult& result_;
  std::vector<char> buffer_;
  std::chrono::steady_clock::time_point heard_ = std::chrono::steady_clock::now();
};

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
  ICBD_TRY(Listener(options, result).listen(output, errors));
  result.exit_code = child.wait();
  return result;
}

}  // namespace icbd
