#include "harness/ssh_server.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <fstream>
#include <sstream>
#include <thread>

#include "icbd/base/unique_fd.h"

#include "harness/loopback.h"
#include "harness/run.h"

namespace icbd::harness {
namespace {

using namespace std::chrono_literals;

constexpr auto deadline = 10s;

// The parent of a process; 0 if there is none of that id. proc(5): "PID (NAME) STATE PARENT …".
pid_t parent_of(pid_t process) {
  std::ifstream file(fmt::format("/proc/{}/stat", process));
  std::string text;
  std::getline(file, text);
  std::istringstream rest(text.substr(std::min(text.rfind(')') + 1, text.size())));
  char state = 0;
  pid_t parent = 0;
  rest >> state >> parent;
  return parent;
}

std::vector<pid_t> all_processes() {
  std::vector<pid_t> all;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") == std::string::npos)
      all.push_back(static_cast<pid_t>(std::stol(name)));
  }
  return all;
}

std::vector<pid_t> children_of(pid_t parent) {
  std::vector<pid_t> children;
  for (const pid_t process : all_processes())
    if (parent_of(process) == parent) children.push_back(process);
  return children;
}

void kill_with_children(pid_t process) {
  const auto children = children_of(process);
  ::kill(process, SIGKILL);
  for (const pid_t child : children) kill_with_children(child);
}

bool answers(std::uint16_t port) {
  const unique_fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in address = loopback(port);
  return ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

Status make_key(const std::filesystem::path& file) {
  std::filesystem::remove(file);
  ICBD_TRY(run_checked({"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file.string()}));
  return {};
}

std::string first_line(const std::filesystem::path& file) {
  std::ifstream stream(file);
  std::string line;
  std::getline(stream, line);
  return line;
}

}  // namespace

Result<std::unique_ptr<SshServer>> SshServer::create() {
  ICBD_ASSIGN(auto folder, TemporaryDirectory::create());
  std::unique_ptr<SshServer> server(new SshServer(std::move(folder)));
  server->port_ = Listener().port;  // free again as soon as it is known
  ICBD_TRY(server->make_keys());
  ICBD_TRY(server->start());
  return server;
}

SshServer::~SshServer() {
  stop();
}

Status SshServer::make_keys() const {
  const auto& folder = folder_.path();
  ICBD_TRY(make_key(folder / "host_key"));
  ICBD_TRY(make_key(key()));
  ICBD_TRY(make_key(other_key()));
  std::filesystem::copy_file(key().string() + ".pub", folder / "authorized_keys");
  std::ofstream(known_hosts()) << fmt::format("[127.0.0.1]:* {}\n",
                                              first_line(folder / "host_key.pub"));
  // SHLVL: bash takes a shell of sshd for a login's and reads what root has in .bashrc, unless it
  // is within another. What that does is this machine's own affair, and may take locks that outlive
  // it when a test kills the server.
  std::ofstream(folder / "sshd_config") << fmt::format(
      "Port {}\nListenAddress 127.0.0.1\nHostKey {}/host_key\nAuthorizedKeysFile "
      "{}/authorized_keys\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n"
      "KbdInteractiveAuthentication no\nStrictModes no\nUsePAM no\nPidFile none\n"
      "LogLevel VERBOSE\nMaxStartups 100\nSetEnv SHLVL=2\n",
      port_, folder.string(), folder.string());
  return {};
}

Status SshServer::change_host_key() {
  return make_key(folder_.path() / "host_key");
}

// sshd has to be named by its absolute path (sshd(8)); what it drops its rights into is made by the
// service that is not used here.
Status SshServer::start() {
  std::filesystem::create_directories("/run/sshd");
  ICBD_ASSIGN(process_, Process::start({"/usr/sbin/sshd", "-D", "-e", "-f",
                                        (folder_.path() / "sshd_config").string()},
                                       {.log_directory = folder_.path(), .name = "sshd"}));
  const auto end = std::chrono::steady_clock::now() + deadline;
  while (!answers(port_)) {
    if (std::chrono::steady_clock::now() > end)
      return fail(ErrorCode::timed_out, "sshd does not listen: " + process_->error_output());
    std::this_thread::sleep_for(5ms);
  }
  return {};
}

void SshServer::stop() {
  if (!process_) return;
  // First the listener: nobody new comes in.
  const auto sessions = children_of(process_->id());
  process_.reset();
  for (const pid_t session : sessions) kill_with_children(session);
}

void SshServer::end_sessions() const {
  for (const pid_t session : children_of(process_->id())) kill_with_children(session);
}

std::size_t SshServer::sessions() const {
  return children_of(process_->id()).size();
}

}  // namespace icbd::harness
