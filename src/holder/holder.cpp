#include "icbd/holder/holder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>

#include "icbd/base/file.h"
#include "icbd/base/service_manager.h"

#include "notify_socket.h"
#include "worker_process.h"

namespace icbd::holder {
namespace {

using namespace std::chrono_literals;
using SteadyClock = std::chrono::steady_clock;

constexpr unsigned most_failures = 10;
constexpr std::chrono::milliseconds longest_pause{5'000};
// The old worker writes a checkpoint before it hands over.
constexpr std::chrono::milliseconds hand_over_timeout{30'000};

std::string describe_end(int status) {
  if (WIFSIGNALED(status))
    return fmt::format("it was ended by signal {} ({})", WTERMSIG(status),
                       sigabbrev_np(WTERMSIG(status)));
  return fmt::format("it ended with code {}", WEXITSTATUS(status));
}

// A worker may be told to stop before it has learned to take the signal.
int code_when_stopped(int status) {
  if (WIFEXITED(status)) return WEXITSTATUS(status);
  return WTERMSIG(status) == SIGTERM ? 0 : 1;
}

class Holder {
 public:
  explicit Holder(const HolderOptions& options) : options_(options) {}

  Result<int> run() {
    ICBD_TRY(prepare());
    ICBD_TRY(start());
    while (!exit_code_) {
      wait();
      if (!exit_code_) look_at_the_time();
    }
    finish();
    return *exit_code_;
  }

 private:
  enum class Phase : std::uint8_t { starting, serving, handing_over, stopping, pausing };

  Status prepare() {
    ICBD_ASSIGN(NotifySocket socket, NotifySocket::open());
    socket_.emplace(std::move(socket));
    std::error_code error;
    installed_ = std::filesystem::read_symlink("/proc/self/exe", error);
    ICBD_ASSIGN(program_, open_file("/proc/self/exe", O_PATH));
    sigset_t signals{};
    sigemptyset(&signals);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR2, SIGCHLD})
      sigaddset(&signals, signal);
    if (sigprocmask(SIG_BLOCK, &signals, nullptr) != 0) return fail_errno("block signals");
    signals_ = unique_fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!signals_) return fail_errno("take signals by a descriptor");
    return {};
  }

  // ---- the worker --------------------------------------------------------------------------

  Status start() {
    ICBD_ASSIGN(worker_, start_worker({.program = program_.get(),
                                       .arguments = options_.arguments,
                                       .kept = kept_,
                                       .notify_socket = socket_->name(),
                                       .silence = options_.silence,
                                       .starts = starts_++,
                                       .last_end = last_end_}));
    phase_ = Phase::starting;
    started_ = SteadyClock::now();
    return {};
  }

  void start_or_give_up() {
    if (const Status started = start(); !started) {
      options_.logger->error("{}", started.error().message());
      exit_code_ = 1;
    }
  }

  void reap() {
    int status = 0;
    if (worker_ <= 0 || ::waitpid(worker_, &status, WNOHANG) != worker_) return;
    // What it said last.
    take_messages();
    worker_ = -1;
    if (phase_ == Phase::stopping) {
      exit_code_ = code_when_stopped(status);
    } else if (phase_ == Phase::handing_over) {
      last_end_ = "it handed over";
      program_before_ = std::move(program_);
      program_ = std::move(program_next_);
      start_or_give_up();
    } else if (program_before_ && phase_ == Phase::starting) {
      roll_back(describe_end(status));
    } else if (WIFEXITED(status) && (WEXITSTATUS(status) == 0 || !was_ready_)) {
      exit_code_ = WEXITSTATUS(status);
    } else if (!was_ready_) {
      options_.logger->error("the worker did not come up: {}", describe_end(status));
      exit_code_ = 1;
    } else {
      replace(status);
    }
  }

  // It died. At once, unless it is one that dies by itself as soon as it starts.
  void replace(int status) {
    last_end_ = describe_end(status);
    if (hung_) last_end_ = "it hung";
    hung_ = false;
    const bool by_itself = !(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    failures_ = phase_ == Phase::starting && by_itself ? failures_ + 1 : 0;
    options_.logger->error("the worker died: {}; the next one takes over", last_end_);
    if (failures_ >= most_failures) {
      options_.logger->error("{} workers in a row did not come up: giving up", failures_);
      exit_code_ = 1;
      return;
    }
    if (failures_ < 2) return start_or_give_up();
    phase_ = Phase::pausing;
    resume_at_ = SteadyClock::now() + std::min(longest_pause, 20ms * (1 << failures_));
  }

  // The program that was to replace the one before did not come up.
  void roll_back(const std::string& why) {
    options_.logger->error("the new program did not come up: {}; the one before goes on", why);
    last_end_ = "the upgrade failed: " + why;
    program_ = std::move(program_before_);
    program_before_.reset();
    start_or_give_up();
  }

  void upgrade(std::string path) {
    if (phase_ != Phase::serving) {
      options_.logger->warn("not replaced: the worker is just starting or stopping");
      return;
    }
    if (path.empty()) path = installed_;
    auto next = open_file(path, O_PATH);
    if (!next || ::faccessat(next->get(), "", X_OK, AT_EMPTY_PATH) != 0) {
      options_.logger->error("not replaced: {} cannot be executed", path);
      return;
    }
    options_.logger->info("the worker is replaced by one of {}", path);
    program_next_ = std::move(*next);
    phase_ = Phase::handing_over;
    started_ = SteadyClock::now();
    ::kill(worker_, SIGUSR2);
  }

  // ---- what comes in -----------------------------------------------------------------------

  void wait() {
    std::array<pollfd, 2> sources{pollfd{.fd = signals_.get(), .events = POLLIN, .revents = 0},
                                  pollfd{.fd = socket_->fd(), .events = POLLIN, .revents = 0}};
    ::poll(sources.data(), sources.size(), static_cast<int>(until_next_look().count()));
    take_messages();
    take_signals();
  }

  void take_messages() {
    while (auto message = socket_->receive(worker_)) take(std::move(*message));
  }

  void take(Message message) {
    heard_ = SteadyClock::now();
    if (message.has("FDSTORE")) {
      const std::string name = message.value("FDNAME");
      if (message.descriptor && !name.empty())
        kept_.insert_or_assign(name, std::move(message.descriptor));
      return;
    }
    if (message.has("X_UNMOUNT")) unmount_ = message.value("X_UNMOUNT");
    if (message.has("X_UPGRADE")) upgrade(message.value("X_UPGRADE"));
    pass_on(message);
    if (message.value("READY") == "1" && phase_ == Phase::starting) became_ready();
  }

  void became_ready() {
    phase_ = Phase::serving;
    if (!was_ready_) watchdog_told_ = SteadyClock::now();
    was_ready_ = true;
    failures_ = 0;
    if (reload_asked_) reload();
    if (!program_before_) return;
    program_before_.reset();
    last_end_ = "it was replaced";
    options_.logger->info("the worker was replaced");
  }

  // To the real service manager, whose business the rest is not.
  void pass_on(const Message& message) {
    std::string state;
    for (const auto& [name, value] : message.assignments)
      if (name != "WATCHDOG" && !name.starts_with("X_"))
        state += fmt::format("{}={}\n", name, value);
    if (!state.empty()) tell(state);
  }

  void tell(const std::string& state) {
    if (const Status told = notify_service_manager(state); !told)
      options_.logger->warn("{}", told.error().message());
  }

  void take_signals() {
    signalfd_siginfo signal{};
    while (::read(signals_.get(), &signal, sizeof signal) == sizeof signal) {
      switch (signal.ssi_signo) {
        case SIGCHLD:
          break;
        case SIGUSR2:
          upgrade("");
          break;
        case SIGHUP:
          reload();
          break;
        default:
          stop();
      }
    }
    reap();
  }

  // A worker that has just been started would be ended by the signal.
  void reload() {
    reload_asked_ = phase_ != Phase::serving;
    if (!reload_asked_) ::kill(worker_, SIGHUP);
  }

  void stop() {
    if (worker_ <= 0) {
      exit_code_ = 0;
      return;
    }
    phase_ = Phase::stopping;
    ::kill(worker_, SIGTERM);
  }

  // ---- time --------------------------------------------------------------------------------

  std::optional<SteadyClock::time_point> deadline() const {
    switch (phase_) {
      case Phase::serving:
        return heard_ + options_.silence;
      case Phase::handing_over:
        return started_ + hand_over_timeout;
      case Phase::starting:
        if (program_before_) return started_ + options_.upgrade_timeout;
        return std::nullopt;  // recovery after a crash may look at every version
      case Phase::pausing:
        return resume_at_;
      case Phase::stopping:
        return std::nullopt;
    }
    return std::nullopt;
  }

  std::chrono::milliseconds until_next_look() const {
    std::chrono::milliseconds longest = 1'000ms;
    if (watchdog_) longest = std::min(longest, duration(*watchdog_ / 3));
    if (const auto until = deadline())
      longest = std::min(longest, duration(*until - SteadyClock::now()) + 1ms);
    return std::max(longest, 0ms);
  }

  template <typename Duration>
  static std::chrono::milliseconds duration(Duration time) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(time);
  }

  void look_at_the_time() {
    // The holder deals with a worker that hangs; what is watched from outside is the holder.
    if (watchdog_ && was_ready_ && SteadyClock::now() - watchdog_told_ >= *watchdog_ / 3) {
      watchdog_told_ = SteadyClock::now();
      tell("WATCHDOG=1");
    }
    const auto until = deadline();
    if (!until || SteadyClock::now() < *until) return;
    if (phase_ == Phase::pausing) return start_or_give_up();
    if (phase_ == Phase::serving) {
      hung_ = true;
      options_.logger->error("the worker has said nothing for {} ms: it is killed",
                             options_.silence.count());
    } else {
      options_.logger->error("the worker takes too long: it is killed");
    }
    ::kill(worker_, SIGKILL);
    // Once is enough; it may take its time to die.
    heard_ = started_ = SteadyClock::now();
  }

  // ---- the end -----------------------------------------------------------------------------

  void finish() {
    kept_.clear();
    if (unmount_.empty()) return;
    // Nobody serves it any more. That it is the one that was left, and not another that somebody
    // has mounted over it, shows in that nobody answers.
    struct stat attributes{};
    if (::stat(unmount_.c_str(), &attributes) != 0 && errno == ENOTCONN)
      ::umount2(unmount_.c_str(), MNT_DETACH);
  }

  const HolderOptions& options_;
  std::optional<NotifySocket> socket_;
  unique_fd signals_;
  std::string installed_;
  unique_fd program_;
  unique_fd program_next_;    // while the worker hands over
  unique_fd program_before_;  // until the new one is ready
  std::map<std::string, unique_fd> kept_;
  std::string unmount_;

  pid_t worker_ = -1;
  Phase phase_ = Phase::starting;
  bool was_ready_ = false;
  bool hung_ = false;
  bool reload_asked_ = false;  // to be passed on when the worker is ready
  unsigned starts_ = 0;
  unsigned failures_ = 0;
  std::string last_end_;
  SteadyClock::time_point started_, heard_, resume_at_, watchdog_told_;
  const std::optional<std::chrono::microseconds> watchdog_ = watchdog_timeout();
  std::optional<int> exit_code_;
};

std::string_view variable(const char* name) {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nothing here sets variables of the environment.
  const char* const value = std::getenv(name);
  return value == nullptr ? std::string_view() : std::string_view(value);
}

}  // namespace

Result<int> run(const HolderOptions& options) {
  return Holder(options).run();
}

std::optional<WorkerStart> worker_start() {
  // A variable that was meant for a parent is inherited: it names the process it is from.
  if (variable("ICBD_HOLDER") != fmt::format("{}", ::getppid())) return std::nullopt;
  WorkerStart start{.starts = 0, .last_end = std::string(variable("ICBD_LAST_END"))};
  const std::string_view starts = variable("ICBD_STARTS");
  std::from_chars(starts.data(), starts.data() + starts.size(), start.starts);
  return start;
}

}  // namespace icbd::holder
