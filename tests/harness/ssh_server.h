// An sshd of the test's own, on a port of its own, with keys of its own.
//
// Purpose: the other end of ssh for what speaks to a machine that runs no icbd.
// Lifecycle: start() makes keys and runs it; the destructor ends it and all of its sessions. Needs
// root, because sshd logs in whoever it runs as, and `btrfs send` wants root.
// Guarantees: listens on 127.0.0.1; changes nothing of the machine's own ssh. Thread-safe but for
// stop() and start().
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "icbd/base/error.h"

#include "harness/process.h"
#include "harness/temporary_directory.h"

namespace icbd::harness {

class SshServer {
 public:
  static Result<std::unique_ptr<SshServer>> create();
  ~SshServer();
  SshServer(const SshServer&) = delete;
  SshServer& operator=(const SshServer&) = delete;

  std::uint16_t port() const { return port_; }
  // The private key of a user who may log in, and of one who may not.
  std::filesystem::path key() const { return folder_.path() / "key"; }
  std::filesystem::path other_key() const { return folder_.path() / "other_key"; }
  // Has the server's key, on every port: there may be a proxy in between.
  std::filesystem::path known_hosts() const { return folder_.path() / "known_hosts"; }

  // stop() ends sessions too; start() goes on with the same port and keys.
  void stop();
  Status start();
  // Ends the sessions; the server stays.
  void end_sessions() const;
  // How many sessions there are.
  std::size_t sessions() const;
  // The server gets another key of its own, which nobody knows; at its next start.
  Status change_host_key();

 private:
  explicit SshServer(TemporaryDirectory folder) : folder_(std::move(folder)) {}
  Status make_keys() const;

  TemporaryDirectory folder_;
  std::uint16_t port_ = 0;
  std::unique_ptr<Process> process_;
};

}  // namespace icbd::harness
