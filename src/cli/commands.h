// The commands of `icbd`: each asks a server over REST and says what it learned. Only `receive`
// works on this machine, without a server.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "icbd/base/error.h"
#include "icbd/cli/terminal.h"
#include "icbd/rest/http.h"

namespace icbd::cli {

// What every command has.
struct Context {
  const rest::HttpClient& server;
  const Terminal& terminal;
  bool json = false;  // print the server's answer and nothing else
};

struct PublishOptions {
  std::string image;
  std::filesystem::path path;
  std::string message;
  std::vector<std::string> tags = {};
  // Of --boot and --target: none if they were not given; empty: nothing is to be marked.
  std::optional<std::string> boot = {}, target = {};
  std::string format = {}, disk_name = {};
  bool checksum = false;
  bool allow_changing = false;
  bool dry_run = false;
  bool wait = true;
};
Status publish(const Context& context, const PublishOptions& options,
               const std::filesystem::path& working_directory);

// All images, or the versions of one.
Status list(const Context& context, const std::optional<std::string>& image);

Status show_status(const Context& context, bool watch);

struct WaitOptions {
  std::string version;  // IMAGE, IMAGE@NUMBER or IMAGE@latest
  std::optional<std::chrono::milliseconds> timeout;
};
// Until the version is complete on the server. One that the server does not know yet may be on its
// way from the master: that is waited for too, but not for long.
Status wait_until_complete(const Context& context, const WaitOptions& options);

struct ReceiveOptions {
  std::string file;   // "" or "-": standard input
  std::string path;   // an existing directory; the subvolume is made in it
  bool dump = false;  // print the stream instead
};
// Makes a subvolume of a send stream, or prints the stream, one command a line.
Status receive(const Terminal& terminal, const ReceiveOptions& options, int input_fd);

struct AdoptOptions {
  std::string image;
  std::vector<std::filesystem::path> paths;
  bool keep_order = false;  // as given, not by the time at which they were made
  bool dry_run = false;
  bool wait = false;
};
Status adopt(const Context& context, const AdoptOptions& options,
             const std::filesystem::path& working_directory);

// Offline, without a server: the exit code says what was found (as with fsck(8), except that
// findings that are left are 3).
enum FsckExitCode : int { fsck_clean = 0, fsck_repaired = 1, fsck_failed = 2, fsck_left = 3 };
struct FsckArguments {
  std::filesystem::path config;  // of these two, one
  std::filesystem::path repository;
  bool repair = false;
  bool data = false;
};
int fsck(const FsckArguments& arguments, const std::filesystem::path& working_directory,
         const Terminal& terminal, bool as_json);

}  // namespace icbd::cli
