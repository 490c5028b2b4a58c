#include "system/export_server.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>

#include <fstream>

#include "icbd/base/file.h"

#include "harness/loopback.h"
#include "harness/run.h"
#include "system/worker_kills.h"

namespace icbd::system_test {
namespace {

using namespace std::chrono_literals;

// Nobody has it at the moment.
int free_port(int type) {
  const unique_fd socket(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
  sockaddr_in address = harness::loopback(0);
  socklen_t length = sizeof address;
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  EXPECT_EQ(::bind(socket.get(), generic, length), 0);
  EXPECT_EQ(::getsockname(socket.get(), generic, &length), 0);
  return ntohs(address.sin_port);
}

}  // namespace

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size()))
    text.replace(at, what.size(), by);
  return text;
}

Result<std::string> documented(const Site& site, const std::string& words) {
  ICBD_ASSIGN(const Bytes bytes, read_file(ICBD_MOUNT_HELPERS "/../docs/operations.md", 1 << 20));
  const std::string document(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const auto said = document.find(words);
  const auto begin = document.find("\n```\n", said);
  const auto end = document.find("\n```\n", begin + 1);
  if (said == std::string::npos || end == std::string::npos)
    return fail(ErrorCode::not_found, "docs/operations.md has no illustration behind " + words);
  return replaced(document.substr(begin + 5, end - begin - 4), "/var/lib/icbd",
                  site.mountpoint().string());
}

Result<std::unique_ptr<ExportServer>> ExportServer::start(const Site& site, const std::string& name,
                                                          const std::string& script) {
  ICBD_ASSIGN(auto process, harness::Process::start(
                                {"setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid",
                                 "--fork", "--kill-child=KILL", "sh", "-e", "-u", "-c", script},
                                {.log_directory = site.folder(), .name = name}));
  return std::unique_ptr<ExportServer>(new ExportServer(std::move(process)));
}

// The first process of its namespace: what it has started goes with it, and unshare(1) reaps it.
ExportServer::~ExportServer() {
  if (const pid_t server = only_child_of(process_->id()); server != 0) ::kill(server, SIGKILL);
  static_cast<void>(process_->wait_for_exit(10s));
}

Status ExportServer::wait_until(const std::string& command) const {
  return Site::wait_until(
      [&] {
        const auto result = harness::shell(command);
        return result && result->exit_code == 0;
      },
      fmt::format("{}; the server says: {}{}", command, process_->output(),
                  process_->error_output()));
}

// ---- iSCSI ---------------------------------------------------------------------------------

Result<std::unique_ptr<IscsiServer>> IscsiServer::start(const Site& site) {
  std::unique_ptr<IscsiServer> iscsi(new IscsiServer());
  iscsi->port_ = free_port(SOCK_STREAM);
  iscsi->socket_ = site.folder() / "tgtd.socket";
  ICBD_ASSIGN(iscsi->server_,
              ExportServer::start(site, "tgtd",
                                  fmt::format("TGT_IPC_SOCKET={} exec tgtd --foreground "
                                              "--iscsi portal=127.0.0.1:{}",
                                              iscsi->socket_, iscsi->port_)));
  ICBD_TRY(iscsi->server_->wait_until(
      fmt::format("TGT_IPC_SOCKET={} tgtadm --op show --mode target", iscsi->socket_)));
  return iscsi;
}

Status IscsiServer::admin(const std::string& arguments) const {
  ICBD_TRY(harness::shell_checked(
      fmt::format("TGT_IPC_SOCKET={} tgtadm --lld iscsi {}", socket_, arguments)));
  return {};
}

Status IscsiServer::export_disk(int target, const std::string& backing_store_type,
                                const std::filesystem::path& disk) const {
  ICBD_TRY(admin(fmt::format(
      "--op new --mode target --tid {0} --targetname iqn.2026-11.example.imgs:{0}", target)));
  ICBD_TRY(
      admin(fmt::format("--op new --mode logicalunit --tid {} --lun 1 --bstype {} "
                        "--backing-store {}",
                        target, backing_store_type, disk.string())));
  ICBD_TRY(admin(
      fmt::format("--op update --mode logicalunit --tid {} --lun 1 --params readonly=1", target)));
  return admin(fmt::format("--op bind --mode target --tid {} --initiator-address ALL", target));
}

Status IscsiServer::execute_configuration(const Site& site,
                                          const std::string& backing_store_type) const {
  ICBD_ASSIGN(const std::string configuration, documented(site, "**iSCSI**"));
  const auto file = site.folder() / "win11.conf";
  std::ofstream(file) << replaced(configuration, "bs-type aio", "bs-type " + backing_store_type);
  ICBD_TRY(harness::shell_checked(
      fmt::format("TGT_IPC_SOCKET={} tgt-admin --conf {} --execute", socket_, file.string())));
  return {};
}

Status IscsiServer::reopen_disk(const Site& site, const std::string& backing_store_type) const {
  ICBD_ASSIGN(const std::string commands, documented(site, "### What was opened while it arrived"));
  ICBD_TRY(harness::shell_checked(
      fmt::format("export TGT_IPC_SOCKET={}\n{}", socket_,
                  replaced(commands, "--bstype aio", "--bstype " + backing_store_type))));
  return {};
}

std::string IscsiServer::portal() const {
  return fmt::format("iscsi://127.0.0.1:{}", port_);
}

std::string IscsiServer::disk_url(const std::string& target) const {
  return fmt::format("{}/iqn.2026-11.example.imgs:{}/1", portal(), target);
}

// ---- TFTP ----------------------------------------------------------------------------------

Result<std::unique_ptr<TftpServer>> TftpServer::start(const Site& site) {
  std::unique_ptr<TftpServer> tftp(new TftpServer());
  tftp->port_ = free_port(SOCK_DGRAM);
  ICBD_ASSIGN(const std::string defaults, documented(site, "**TFTP**"));
  // As Debian's /etc/init.d/tftpd-hpa starts it.
  ICBD_ASSIGN(tftp->server_,
              ExportServer::start(
                  site, "tftpd",
                  defaults + fmt::format("exec in.tftpd --foreground --address 127.0.0.1:{} "
                                         "--user $TFTP_USERNAME $TFTP_OPTIONS $TFTP_DIRECTORY",
                                         tftp->port_)));
  ICBD_TRY(tftp->server_->wait_until(
      fmt::format("test -n \"$(ss --no-header -lun 'sport = :{}')\"", tftp->port_)));
  return tftp;
}

// ---- NFS -----------------------------------------------------------------------------------

Result<std::unique_ptr<NfsServer>> NfsServer::start(const Site& site) {
  std::unique_ptr<NfsServer> nfs(new NfsServer());
  nfs->port_ = free_port(SOCK_STREAM);
  const auto configuration = site.folder() / "ganesha.conf";
  ICBD_ASSIGN(const std::string text, documented(site, "**NFS**"));
  std::ofstream(configuration) << replaced(
      text, "NFS_CORE_PARAM {",
      fmt::format("NFS_CORE_PARAM {{ NFS_Port = {}; Bind_addr = 127.0.0.1;", nfs->port_));
  ICBD_ASSIGN(
      nfs->server_,
      ExportServer::start(
          site, "ganesha",
          fmt::format("for place in /run /var/lib/nfs; do\n"
                      "  mkdir -p $place; mount -t tmpfs tmpfs $place; mkdir $place/ganesha\n"
                      "done\n"
                      "exec ganesha.nfsd -F -N NIV_EVENT -f {} -L {} -p {}",
                      configuration.string(), (site.folder() / "ganesha.log").string(),
                      (site.folder() / "ganesha.pid").string())));
  ICBD_TRY(nfs->server_->wait_until(fmt::format("nfs-ls '{}'", nfs->url(""))));
  return nfs;
}

std::string NfsServer::url(const std::string& path) const {
  return fmt::format("nfs://127.0.0.1/icbd/{}?version=4&nfsport={}", path, port_);
}

}  // namespace icbd::system_test
