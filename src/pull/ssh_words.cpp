#include "ssh_words.h"

#include <fmt/format.h>

#include <algorithm>

namespace icbd::pull {
namespace {

// A link that is dead is noticed within 9 s: one that says nothing for 3 s is asked, and again 3 s
// later (ssh_config(5)).
constexpr std::string_view connect_timeout = "ConnectTimeout=10";
constexpr std::string_view alive_interval = "ServerAliveInterval=3";
constexpr std::string_view alive_count = "ServerAliveCountMax=2";

// Both answers are texts with a NUL behind each, so that names may hold whatever names may hold.
// BTRFS stands for the words that run btrfs, PROGRAM for the first of them; $1 is the directory. A
// subvolume's root is inode 256 (BTRFS_FIRST_FREE_OBJECTID, linux/btrfs_tree.h). The versions are
// asked for without BTRFS, because sudo may not allow that, and would write it down each time.
constexpr std::string_view images_script = R"sh(cd -- "$1" || exit 1
[ -r . ] || { echo "$1 cannot be read by $(id -un)" >&2; exit 1; }
command -v PROGRAM >/dev/null || { echo PROGRAM "is not found" >&2; exit 127; }
printf 'icbd\000%s\000%s\000' "$(cat /sys/fs/btrfs/features/send_stream_version 2>/dev/null)" \
  "$(PATH=$PATH:/usr/sbin:/sbin btrfs version 2>/dev/null)"
for image in *; do
  if [ -d "$image" ] && [ ! -L "$image" ]; then
    printf 'image\000%s\000%s\000' "$image" "$(stat -c '%i %y' -- "$image")"
  fi
done
printf 'end\000')sh";

// A directory with a subvolume called "snapshot" is one of snapper's.
constexpr std::string_view snapshots_script = R"sh(cd -- "$1" || exit 1
shift
is_subvolume() { [ -d "$1" ] && [ ! -L "$1" ] && [ "$(stat -c %i -- "$1")" = 256 ]; }
for image; do
  printf 'image\000%s\000' "$image"
  for entry in "$image"/*; do
    [ ! -L "$entry" ] || continue
    is_subvolume "$entry" || entry=$entry/snapshot
    is_subvolume "$entry" || continue
    printf 'snapshot\000%s\000' "$entry"
    BTRFS subvolume show "$PWD/$entry"
    printf '\000%s\000' "$?"
  done
done
printf 'end\000')sh";

std::string replace_all(std::string_view text, std::string_view what, std::string_view with) {
  std::string result;
  for (std::size_t begin = 0;;) {
    const std::size_t found = text.find(what, begin);
    result += text.substr(begin, found - begin);
    if (found == std::string_view::npos) return result;
    result += with;
    begin = found + what.size();
  }
}

// "sudo btrfs" as words that no shell takes for anything else.
std::vector<std::string> quoted_words(std::string_view command) {
  std::vector<std::string> words;
  while (!command.empty()) {
    const std::size_t end = std::min(command.find(' '), command.size());
    if (end != 0) words.push_back(shell_quote(command.substr(0, end)));
    command.remove_prefix(std::min(end + 1, command.size()));
  }
  return words;
}

std::string quoted_command(std::string_view command) {
  std::string joined;
  for (const std::string& word : quoted_words(command))
    joined += (joined.empty() ? "" : " ") + word;
  return joined;
}

// `sh` by name: the login shell may be another one.
std::string run_script(const std::string& script, std::span<const std::string> arguments) {
  std::string command = "sh -c " + shell_quote(script) + " sh";
  for (const std::string& argument : arguments) command += " " + shell_quote(argument);
  return command;
}

std::string path_of(const Machine& machine, const Snapshot& snapshot) {
  const bool slash = machine.directory.ends_with('/');
  return machine.directory + (slash ? "" : "/") + snapshot.path;
}

}  // namespace

std::string shell_quote(std::string_view word) {
  return "'" + replace_all(word, "'", R"('\'')") + "'";
}

std::vector<std::string> ssh_words(const Machine& machine, const std::string& remote_command) {
  std::vector<std::string> words{"ssh", "-T", "-x", "-a"};
  const auto option = [&words](std::string_view text) {
    words.emplace_back("-o");
    words.emplace_back(text);
  };
  // Of an option that is given twice, ssh takes the first. What the trust rests on, and that nobody
  // is there to answer, is not the site's to say.
  option("StrictHostKeyChecking=yes");
  option("BatchMode=yes");
  for (const std::string& text : machine.ssh_options) option(text);
  for (const std::string_view text :
       {std::string_view("ClearAllForwardings=yes"), std::string_view("PermitLocalCommand=no"),
        connect_timeout, alive_interval, alive_count})
    option(text);
  if (!machine.key.empty()) {
    words.insert(words.end(), {"-i", machine.key.string()});
    option("IdentitiesOnly=yes");
  }
  if (!machine.known_hosts.empty()) {
    option(fmt::format("UserKnownHostsFile=\"{}\"", machine.known_hosts.string()));
    option("GlobalKnownHostsFile=none");
  }
  if (machine.port != 0) words.insert(words.end(), {"-p", std::to_string(machine.port)});
  if (!machine.user.empty()) words.insert(words.end(), {"-l", machine.user});
  words.insert(words.end(), {"--", machine.host, remote_command});
  return words;
}

std::string list_images_command(const Machine& machine) {
  const auto words = quoted_words(machine.remote_command);
  return run_script(replace_all(images_script, "PROGRAM", words.front()),
                    std::vector{machine.directory});
}

std::string list_snapshots_command(const Machine& machine, std::span<const std::string> images) {
  std::vector arguments{machine.directory};
  arguments.insert(arguments.end(), images.begin(), images.end());
  return run_script(replace_all(snapshots_script, "BTRFS", quoted_command(machine.remote_command)),
                    arguments);
}

std::string send_command(const Machine& machine, const Snapshot& snapshot, const Snapshot* parent,
                         bool packed) {
  std::string command = "exec " + quoted_command(machine.remote_command) + " send -q";
  if (packed) command += " --proto 2 --compressed-data";
  if (parent != nullptr) command += " -p " + shell_quote(path_of(machine, *parent));
  return command + " " + shell_quote(path_of(machine, snapshot));
}

}  // namespace icbd::pull
