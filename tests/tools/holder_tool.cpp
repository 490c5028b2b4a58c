// A holder and its workers, told by the arguments what each worker does, for the holder's tests.
//
//   holder_tool [SILENCE_MS UPGRADE_MS] SCRIPT...
//
// With HOLDER_TOOL_EXECUTES in the environment, all workers are executed, not forked.
//
// The first worker follows the first script, the second the second, …, all further ones the last:
// words separated by commas, see Worker below. What is printed ends in the worker's number.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "icbd/base/daemon_signals.h"
#include "icbd/base/service_manager.h"
#include "icbd/holder/holder.h"

namespace {

using namespace icbd;
using namespace std::chrono_literals;

class Worker {
 public:
  Worker(holder::Turn turn, holder::Channel& channel) : turn_(std::move(turn)), channel_(channel) {}

  int run(std::string_view script) {
    while (!script.empty()) {
      const std::string_view word = script.substr(0, script.find(','));
      script.remove_prefix(std::min(word.size() + 1, script.size()));
      const auto colon = std::min(word.find(':'), word.size());
      const auto found = words_.find(word.substr(0, colon));
      if (found == words_.end()) return complain(word);
      found->second(std::string(word.substr(std::min(colon + 1, word.size()))));
    }
    return 0;
  }

 private:
  static int complain(std::string_view word) {
    fmt::print(stderr, "holder_tool: no such word: {}\n", word);
    return 2;
  }
  void print(std::string_view what) const {
    fmt::print("{} {}\n", what, turn_.starts);
    std::fflush(stdout);
  }
  static void tell(const std::string& state) {
    if (const Status told = notify_service_manager(state); !told)
      fmt::print(stderr, "{}\n", told.error().message());
  }

  // Serves until it is told to stop or to hand over.
  void serve(const std::string& sign) const {
    DaemonSignals signals;
    tell("READY=1");
    print("ready");
    for (;;) {
      const DaemonSignal signal = signals.wait_for(watchdog_timeout().value_or(1s) / 3);
      if (signal == DaemonSignal::reload) print("reload");
      if (signal == DaemonSignal::stop) return print("stop");
      if (signal == DaemonSignal::hand_over) return print("hand over");
      if (!sign.empty()) tell(sign);
    }
  }
  [[noreturn]] static void hang() {
    const DaemonSignals blocked;
    for (;;) ::pause();
  }
  static void wait_for_file(const std::string& path) {
    while (!std::filesystem::exists(path)) std::this_thread::sleep_for(2ms);
  }
  static void keep(const std::string& name) {
    const unique_fd file(::memfd_create("holder_tool", MFD_CLOEXEC));
    if (::write(file.get(), name.data(), name.size()) < 0) std::perror("write");
    if (!keep_descriptor(name, file.get())) std::perror("keep");
  }
  void print_kept() const {
    for (const holder::Descriptor& kept : turn_.descriptors) {
      std::array<char, 100> text{};
      const ssize_t got = ::pread(kept.descriptor.get(), text.data(), text.size(), 0);
      print(fmt::format(
          "kept {}={}", kept.name,
          std::string_view(text.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0)))));
    }
    print("that is all");
  }
  // Waits until one upgrade more than before has failed.
  void print_failures() {
    const unsigned before = failures_;
    holder::Channel::UpgradeFailures now;
    while ((now = channel_.upgrade_failures()).count == before) std::this_thread::sleep_for(2ms);
    failures_ = now.count;
    print(fmt::format("failures: {}, {};", now.count, now.last));
  }
  // Somebody who is not the worker says something.
  static void say_by_another(const std::string& state) {
    const pid_t process = ::fork();
    if (process == 0) {
      tell(state);
      ::_exit(0);
    }
    ::waitpid(process, nullptr, 0);
  }
  static void mount(const std::string& path) {
    const unique_fd device(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
    const std::string options =
        fmt::format("fd={},rootmode=40000,user_id=0,group_id=0", device.get());
    if (::mount("holder_tool", path.c_str(), "fuse", MS_RDONLY, options.c_str()) != 0)
      std::perror("mount");
    if (!keep_descriptor("mount", device.get())) std::perror("keep");
    tell("X_UNMOUNT=" + path);
  }

  const holder::Turn turn_;
  holder::Channel& channel_;
  unsigned failures_ = 0;
  const std::map<std::string, std::function<void(const std::string&)>, std::less<>> words_ = {
      {"serve", [this](const std::string&) { serve("WATCHDOG=1"); }},
      {"fall-silent", [this](const std::string&) { serve(""); }},
      {"ready",
       [](const std::string&) {
         const DaemonSignals blocked;  // the next word may be answered by one
         tell("READY=1");
       }},
      {"hang", [](const std::string&) { hang(); }},
      {"say", [](const std::string& state) { tell(state); }},
      {"other-says", [](const std::string& state) { say_by_another(state); }},
      {"print", [this](const std::string& text) { print(text); }},
      {"wait-for", [](const std::string& path) { wait_for_file(path); }},
      {"keep", [](const std::string& name) { keep(name); }},
      {"kept", [this](const std::string&) { print_kept(); }},
      {"mount", [](const std::string& path) { mount(path); }},
      {"failures", [this](const std::string&) { print_failures(); }},
      {"exit", [](const std::string& code) { std::_Exit(std::atoi(code.c_str())); }},
      {"raise", [](const std::string& signal) { ::raise(std::atoi(signal.c_str())); }},
      {"why", [this](const std::string&) { print(fmt::format("why: {};", turn_.last_end)); }},
      {"program", [this](const std::string&) {
         print("program " + std::filesystem::read_symlink("/proc/self/exe").string());
       }}};
};

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> scripts(argv + 1, argv + argc);
  holder::HolderOptions options{
      .arguments = {argv, argv + argc}, .logger = *make_logger("holder", "info"), .work = {}};
  const auto take_time = [&scripts] {
    const std::chrono::milliseconds time(std::atoi(scripts.front().c_str()));
    scripts.erase(scripts.begin());
    return time;
  };
  if (scripts.size() > 2 && std::atoi(scripts.front().c_str()) > 0) {
    options.silence = take_time();
    options.upgrade_timeout = take_time();
  }
  if (scripts.empty()) return 2;
  const auto work = [&scripts](const std::unique_ptr<holder::Channel>& channel) {
    if (!channel) return 1;
    auto turn = channel->wait();
    if (!turn) return turn.error().code() == ErrorCode::cancelled ? 0 : 1;
    const std::size_t number = std::min<std::size_t>(turn->starts, scripts.size() - 1);
    return Worker(std::move(*turn), *channel).run(scripts[number]);
  };
  if (const auto channel = holder::Channel::open()) return work(channel);
  if (std::getenv("HOLDER_TOOL_EXECUTES") == nullptr)
    options.work = [&work] { return work(holder::Channel::open()); };
  const auto ended = holder::run(options);
  return ended ? *ended : 3;
}
