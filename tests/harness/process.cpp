#include "harness/process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <iterator>

#include "icbd/base/file.h"

#include "harness/child_process.h"

namespace icbd::harness {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// How often a file is looked at for a line that has not come yet.
constexpr milliseconds poll_interval{5};

std::string text_from(const std::filesystem::path& path, std::uint64_t start) {
  std::ifstream file(path, std::ios::binary);
  file.seekg(static_cast<std::streamoff>(start));
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string line_with_prefix(const std::string& text, const std::string& prefix) {
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = text.find('\n', begin);
    if (end == std::string::npos) break;  // not a whole line yet
    if (text.compare(begin, prefix.size(), prefix) == 0) return text.substr(begin, end - begin);
    begin = end + 1;
  }
  return {};
}

Result<unique_fd> open_log(const std::filesystem::path& path, std::uint64_t& start) {
  ICBD_ASSIGN(auto file, open_file(path, O_WRONLY | O_CREAT | O_APPEND, 0600));
  struct stat status{};
  if (fstat(file.get(), &status) != 0) return fail_errno(fmt::format("stat {}", path.string()));
  start = static_cast<std::uint64_t>(status.st_size);
  return file;
}

}  // namespace

Process::Process(ProcessOptions options, pid_t child, unique_fd child_fd)
    : options_(std::move(options)), child_(child), child_fd_(std::move(child_fd)) {}

Result<std::unique_ptr<Process>> Process::start(const std::vector<std::string>& arguments,
                                                ProcessOptions options) {
  std::unique_ptr<Process> process(new Process(std::move(options), -1, unique_fd()));
  ICBD_ASSIGN(const unique_fd output, open_log(process->output_path(), process->output_start_));
  ICBD_ASSIGN(const unique_fd errors, open_log(process->error_path(), process->error_start_));
  ICBD_ASSIGN(process->child_, spawn(arguments, {.output_fd = output.get(),
                                                 .error_fd = errors.get(),
                                                 .environment = process->options_.environment}));
  // Not the library's pidfd_open(): that of Debian 12 cannot be linked from C++.
  process->child_fd_.reset(static_cast<int>(syscall(SYS_pidfd_open, process->child_, 0)));
  if (!process->child_fd_) return fail_errno("pidfd_open");
  return process;
}

Process::~Process() {
  if (!running()) return;
  kill(child_, SIGKILL);
  // Nothing more can be done about a child that cannot be reaped.
  static_cast<void>(wait_for(child_));
}

std::filesystem::path Process::output_path() const {
  return options_.log_directory / (options_.name + ".stdout");
}
std::filesystem::path Process::error_path() const {
  return options_.log_directory / (options_.name + ".stderr");
}
std::string Process::output() const {
  return text_from(output_path(), output_start_);
}
std::string Process::error_output() const {
  return text_from(error_path(), error_start_);
}

Result<std::string> Process::wait_for_line(const std::string& prefix, milliseconds deadline) {
  const auto end = Clock::now() + deadline;
  while (true) {
    const auto exited = wait_for_exit(poll_interval);
    // Looked at after the exit, so that the last words of a program that ended are seen.
    if (std::string line = line_with_prefix(output(), prefix); !line.empty()) return line;
    if (exited)
      return fail(ErrorCode::unavailable,
                  fmt::format("{} ended with {}: {}", options_.name, *exited, error_output()));
    if (exited.error().code() != ErrorCode::timed_out) return std::unexpected(exited.error());
    if (Clock::now() >= end)
      return fail(ErrorCode::timed_out,
                  fmt::format("{} did not say \"{}\"; it said: {}{}", options_.name, prefix,
                              output(), error_output()));
  }
}

Status Process::signal(int number) {
  if (!running()) return fail(ErrorCode::not_found, fmt::format("{} has ended", options_.name));
  if (kill(child_, number) != 0) return fail_errno(fmt::format("signal {}", options_.name));
  return {};
}

Result<int> Process::wait_for_exit(milliseconds deadline) {
  if (!running()) return fail(ErrorCode::not_found, fmt::format("{} has ended", options_.name));
  const auto end = Clock::now() + deadline;
  pollfd exit{.fd = child_fd_.get(), .events = POLLIN, .revents = 0};
  int ready;
  do {
    const auto left = std::chrono::ceil<milliseconds>(end - Clock::now());
    ready = poll(&exit, 1, static_cast<int>(std::max<std::int64_t>(left.count(), 0)));
  } while (ready < 0 && errno == EINTR);
  if (ready < 0) return fail_errno(fmt::format("wait for {}", options_.name));
  if (ready == 0) return fail(ErrorCode::timed_out, fmt::format("{} still runs", options_.name));
  ICBD_ASSIGN(const int code, wait_for(child_));
  child_ = -1;
  return code;
}

Result<int> Process::stop(milliseconds deadline) {
  ICBD_TRY(signal(SIGTERM));
  return wait_for_exit(deadline);
}

}  // namespace icbd::harness
