// A server that exports the view: iSCSI, TFTP or NFS, as Debian has them.
//
// What is configured is what docs/operations.md says, word for word, but for places and ports.
// Lifecycle: start() runs it; the destructor ends it and all that it has started, and so does the
// death of the test. It has mounts and processes of its own (unshare): what it wants to have at
// places of its own is seen by nobody else.
#pragma once

#include <memory>
#include <string>

#include "harness/process.h"
#include "system/site.h"

namespace icbd::system_test {

std::string replaced(std::string text, const std::string& what, const std::string& by);
// The first illustration behind `words` in docs/operations.md, with the view where it is here: what
// is documented is what is tested.
Result<std::string> documented(const Site& site, const std::string& words);

class ExportServer {
 public:
  // `script` prepares its places and ends with `exec`. What it writes is in the site's folder.
  static Result<std::unique_ptr<ExportServer>> start(const Site& site, const std::string& name,
                                                     const std::string& script);
  ~ExportServer();
  ExportServer(const ExportServer&) = delete;
  ExportServer& operator=(const ExportServer&) = delete;

  // Until the command succeeds; an error that quotes the server if it has ended before.
  Status wait_until(const std::string& command) const;

 private:
  explicit ExportServer(std::unique_ptr<harness::Process> process) : process_(std::move(process)) {}

  std::unique_ptr<harness::Process> process_;  // unshare(1), whose only child is the server
};

// tgtd with its administration at a place of its own; targets are made with admin().
class IscsiServer {
 public:
  static Result<std::unique_ptr<IscsiServer>> start(const Site& site);

  // A target of one disk, which is logical unit 1.
  Status export_disk(int target, const std::string& backing_store_type,
                     const std::filesystem::path& disk) const;
  // The targets of docs/operations.md.
  Status execute_configuration(const Site& site, const std::string& backing_store_type) const;
  // What docs/operations.md says of a disk that was opened while it arrived: win11@2, target 1.
  Status reopen_disk(const Site& site, const std::string& backing_store_type) const;
  std::string portal() const;
  // `target` as in "iqn.2026-11.example.imgs:TARGET".
  std::string disk_url(const std::string& target) const;

 private:
  IscsiServer() = default;
  Status admin(const std::string& arguments) const;

  std::string socket_;
  int port_ = 0;
  std::unique_ptr<ExportServer> server_;
};

// in.tftpd: the whole view.
class TftpServer {
 public:
  static Result<std::unique_ptr<TftpServer>> start(const Site& site);
  int port() const { return port_; }

 private:
  TftpServer() = default;

  int port_ = 0;
  std::unique_ptr<ExportServer> server_;
};

// nfs-ganesha: the whole view as /icbd, NFSv4.
class NfsServer {
 public:
  static Result<std::unique_ptr<NfsServer>> start(const Site& site);
  // `path` is within the view.
  std::string url(const std::string& path) const;

 private:
  NfsServer() = default;

  int port_ = 0;
  std::unique_ptr<ExportServer> server_;
};

}  // namespace icbd::system_test
