#include "icbd/holder/holder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "icbd/base/file.h"
#include "icbd/base/service_manager.h"

#include "notify_socket.h"
#include "turn_message.h"
#include "worker_process.h"

namespace icbd::holder {
namespace {

using namespace std::chrono_literals;
using SteadyClock = std::chrono::steady_clock;

constexpr unsigned most_failures = 10;
constexpr std::chrono::milliseconds first_pause{20};
constexpr std::chrono::milliseconds longest_pause{5'000};
// Before another one is started in the place of one that died while it stood by.
constexpr std::chrono::milliseconds standby_pause{1'000};
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
      if (!exit_code_) keep_one_standing_by();
    }
    finish();
    return *exit_code_;
  }

 private:
  struct Program {
    unique_fd file;
    bool own = false;  // the holder's: its workers need not be executed
  };
  // Of the worker whose turn it is.
  enum class Phase : std::uint8_t { starting, serving, handing_over, stopping, pausing };

  Status prepare() {
    ICBD_ASSIGN(NotifySocket socket, NotifySocket::open());
    socket_ = std::make_unique<NotifySocket>(std::move(socket));
    std::error_code error;
    installed_ = std::filesystem::read_symlink("/proc/self/exe", error);
    ICBD_ASSIGN(program_.file, open_file("/proc/self/exe", O_PATH));
    program_.own = true;
    sigset_t signals{};
    sigemptyset(&signals);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR2, SIGCHLD})
      sigaddset(&signals, signal);
    if (pthread_sigmask(SIG_BLOCK, &signals, nullptr) != 0) return fail_errno("block signals");
    signals_ = unique_fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!signals_) return fail_errno("take signals by a descriptor");
    return {};
  }

  // ---- workers -----------------------------------------------------------------------------

  Result<WorkerProcess> spawn(const Program& program) const {
    return start_worker({.work = program.own && options_.work ? &options_.work : nullptr,
                         .program = program.file.get(),
                         .arguments = options_.arguments,
                         .notify_socket = socket_->name(),
                         .silence = options_.silence});
  }

  // It is this one's turn.
  Status activate(WorkerProcess next) {
    worker_ = std::move(next);
    phase_ = Phase::starting;
    since_ = SteadyClock::now();
    std::vector<NamedDescriptor> descriptors;
    descriptors.reserve(kept_.size());
    for (const auto& [name, descriptor] : kept_) descriptors.push_back({name, descriptor.get()});
    return send_turn(worker_.channel.get(), starts_++, last_end_, descriptors);
  }

  Status start() {
    ICBD_ASSIGN(WorkerProcess next, spawn(program_));
    return activate(std::move(next));
  }

  // With the one that stands by, if there is one.
  void go_on() {
    const Status started =
        standby_.exists() ? activate(std::exchange(standby_, WorkerProcess())) : start();
    if (started) return;
    options_.logger->error("{}", started.error().message());
    // One that is there but has died meanwhile is found dead; without one, nothing is left to do.
    if (!worker_.exists()) exit_code_ = gave_up;
  }

  // Also beside one that has only begun its turn: whatever kills workers may be quicker than a
  // program is loaded, and none would ever get so far as to serve.
  void keep_one_standing_by() {
    const bool wanted = phase_ == Phase::serving || (phase_ == Phase::starting && was_ready_);
    if (!wanted || standby_.exists() || SteadyClock::now() < standby_at_) return;
    auto next = spawn(program_);
    if (next)
      standby_ = std::move(*next);
    else
      put_off_standby();
  }
  void put_off_standby() { standby_at_ = SteadyClock::now() + standby_pause; }

  void discard_standby() {
    if (!standby_.exists()) return;
    ::kill(standby_.process, SIGKILL);
    ::waitpid(standby_.process, nullptr, 0);
    standby_ = WorkerProcess();
  }

  void reap() {
    int status = 0;
    for (pid_t ended = 0; (ended = ::waitpid(-1, &status, WNOHANG)) > 0;) {
      take_messages();  // what it said last
      if (ended == worker_.process)
        worker_ended(status);
      else if (ended == standby_.process)
        standby_ended(status);
    }
  }

  void standby_ended(int status) {
    standby_ = WorkerProcess();
    if (upgrading_) return upgrade_failed(describe_end(status));
    // Its turn will come with what is started then; what is wrong with it is said by that one.
    put_off_standby();
  }

  void worker_ended(int status) {
    worker_ = WorkerProcess();
    if (phase_ == Phase::stopping) {
      exit_code_ = code_when_stopped(status);
    } else if (phase_ == Phase::handing_over) {
      last_end_ = "it handed over";
      upgrading_ = false;
      program_before_ = std::exchange(program_, std::move(program_next_));
      go_on();
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

  // It died. The next one goes on at once, unless they die by themselves as soon as they start.
  void replace(int status) {
    last_end_ = std::exchange(hung_, false) ? "it hung" : describe_end(status);
    const bool by_itself = !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL;
    failures_ = phase_ == Phase::starting && by_itself ? failures_ + 1 : 0;
    options_.logger->error("the worker died: {}; the next one takes over", last_end_);
    if (upgrading_) upgrade_failed("the worker died before it could hand over");
    if (failures_ >= most_failures) {
      options_.logger->error("{} workers in a row did not come up: giving up", failures_);
      exit_code_ = gave_up;
    } else if (failures_ < 2) {
      go_on();
    } else {
      phase_ = Phase::pausing;
      since_ = SteadyClock::now();
    }
  }
  std::chrono::milliseconds pause() const {
    return std::min(longest_pause, first_pause * (1 << failures_));
  }

  // ---- another program ---------------------------------------------------------------------

  // First it is prepared beside the worker that serves.
  void upgrade(std::string path) {
    if (phase_ == Phase::starting) {
      upgrade_asked_ = std::move(path);  // by whoever it answers already
      return;
    }
    if (phase_ != Phase::serving || upgrading_) {
      options_.logger->warn("not replaced: the worker is just stopping or being replaced");
      return;
    }
    if (path.empty()) path = installed_;
    options_.logger->info("the worker is replaced by one of {}", path);
    discard_standby();
    upgrading_ = true;
    auto file = open_file(path, O_PATH);
    if (!file) return upgrade_failed(file.error().message());
    program_next_ = {.file = std::move(*file), .own = false};
    auto next = spawn(program_next_);
    if (!next) return upgrade_failed(next.error().message());
    standby_ = std::move(*next);
    since_ = SteadyClock::now();
  }

  void hand_over() {
    phase_ = Phase::handing_over;
    since_ = SteadyClock::now();
    ::kill(worker_.process, SIGUSR2);
  }

  // The worker that serves has not been touched.
  void upgrade_failed(const std::string& why) {
    discard_standby();
    upgrading_ = false;
    options_.logger->error("the new program did not come up: {}; the one before goes on", why);
    if (worker_.exists())
      if (const Status told = send_upgrade_failure(worker_.channel.get(), why); !told)
        options_.logger->warn("{}", told.error().message());
  }

  // The program that has taken over was not ready.
  void roll_back(const std::string& why) {
    options_.logger->error("the new program did not come up: {}; the one before goes on", why);
    last_end_ = "the upgrade failed: " + why;
    program_ = std::move(*program_before_);
    program_before_.reset();
    discard_standby();
    go_on();
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
    while (auto message = socket_->receive()) {
      if (message->sender == worker_.process)
        take(std::move(*message));
      else if (message->sender == standby_.process && message->has("X_PREPARED"))
        standby_prepared();
    }
  }

  void standby_prepared() {
    standby_.prepared = true;
    if (upgrading_ && phase_ == Phase::serving) hand_over();
  }

  void take(Message message) {
    heard_ = SteadyClock::now();
    if (message.has("FDSTORE")) {
      const std::string name = message.value("FDNAME");
      if (message.descriptor && !name.empty() &&
          (kept_.contains(name) || kept_.size() < most_descriptors))
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
    if (program_before_) {
      program_before_.reset();
      options_.logger->info("the worker was replaced");
    }
    if (auto asked = std::exchange(upgrade_asked_, std::nullopt)) upgrade(std::move(*asked));
  }

  // To the service manager, whose business the rest is not.
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
    if (!reload_asked_) ::kill(worker_.process, SIGHUP);
  }

  void stop() {
    discard_standby();
    upgrading_ = false;
    if (!worker_.exists()) {
      exit_code_ = 0;
      return;
    }
    phase_ = Phase::stopping;
    ::kill(worker_.process, SIGTERM);
  }

  // ---- time --------------------------------------------------------------------------------

  std::optional<SteadyClock::time_point> deadline() const {
    switch (phase_) {
      case Phase::serving:
        if (upgrading_)
          return std::min(since_ + options_.upgrade_timeout, heard_ + options_.silence);
        return heard_ + options_.silence;
      case Phase::handing_over:
        return since_ + hand_over_timeout;
      case Phase::starting:
        if (program_before_) return since_ + options_.upgrade_timeout;
        return std::nullopt;  // recovery after a crash may look at every version
      case Phase::pausing:
        return since_ + pause();
      case Phase::stopping:
        return std::nullopt;
    }
    return std::nullopt;
  }

  std::chrono::milliseconds until_next_look() const {
    std::chrono::milliseconds longest = 1'000ms;
    if (watchdog_) longest = std::min(longest, milliseconds(*watchdog_ / 3));
    if (const auto until = deadline())
      longest = std::min(longest, milliseconds(*until - SteadyClock::now()) + 1ms);
    return std::max(longest, 0ms);
  }

  template <typename Duration>
  static std::chrono::milliseconds milliseconds(Duration time) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(time);
  }

  void look_at_the_time() {
    const auto now = SteadyClock::now();
    // The holder deals with a worker that hangs; what is watched from outside is the holder.
    if (watchdog_ && was_ready_ && now - watchdog_told_ >= *watchdog_ / 3) {
      watchdog_told_ = now;
      tell("WATCHDOG=1");
    }
    const auto until = deadline();
    if (!until || now < *until) return;
    if (phase_ == Phase::pausing) return go_on();
    if (phase_ == Phase::serving && now < heard_ + options_.silence)
      return upgrade_failed("it takes too long to prepare itself");
    hung_ = phase_ == Phase::serving;
    if (hung_)
      options_.logger->error("the worker has said nothing for {} ms: it is killed",
                             options_.silence.count());
    else
      options_.logger->error("the worker takes too long: it is killed");
    ::kill(worker_.process, SIGKILL);
    // Once is enough; it may take its time to die.
    heard_ = since_ = now;
  }

  // ---- the end -----------------------------------------------------------------------------

  void finish() {
    discard_standby();
    kept_.clear();
    if (unmount_.empty()) return;
    // Nobody serves it any more. That it is the one that was left, and not another that somebody
    // has mounted over it, shows in that nobody answers.
    struct statfs filesystem{};  // stat(2) may be answered by the kernel
    if (::statfs(unmount_.c_str(), &filesystem) != 0 && errno == ENOTCONN)
      ::umount2(unmount_.c_str(), MNT_DETACH);
  }

  const HolderOptions& options_;
  std::unique_ptr<NotifySocket> socket_;
  unique_fd signals_;
  std::string installed_;
  Program program_;
  Program program_next_;                   // that is being prepared
  std::optional<Program> program_before_;  // until the new one is ready
  std::map<std::string, unique_fd> kept_;
  std::string unmount_;

  WorkerProcess worker_;   // whose turn it is
  WorkerProcess standby_;  // the next one
  Phase phase_ = Phase::starting;
  SteadyClock::time_point since_;  // of the phase, or of the upgrade's begin
  SteadyClock::time_point heard_, standby_at_, watchdog_told_;
  bool upgrading_ = false;
  bool was_ready_ = false;
  bool hung_ = false;
  std::optional<std::string> upgrade_asked_;  // to be done when the worker is ready
  bool reload_asked_ = false;                 // to be passed on when the worker is ready
  unsigned starts_ = 0;
  unsigned failures_ = 0;
  std::string last_end_;
  const std::optional<std::chrono::microseconds> watchdog_ = watchdog_timeout();
  std::optional<int> exit_code_;
};

}  // namespace

Result<int> run(const HolderOptions& options) {
  return Holder(options).run();
}

}  // namespace icbd::holder
