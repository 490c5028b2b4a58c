#include "icbd/cli/cli.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <vector>

#include "icbd/base/closest.h"

#include "commands.h"

namespace icbd::cli {
namespace {

constexpr const char* default_server = "http://127.0.0.1:5009";

// What the arguments say, of all commands.
struct Arguments {
  std::string server;
  bool json = false;
  PublishOptions publish;
  bool no_wait = false;
  std::string list_image;
  bool watch = false;
  std::string wait_version;
  double wait_seconds = 0;
  ReceiveOptions receive;
  FsckArguments fsck;
  AdoptOptions adopt;
};

void define_receive(CLI::App& app, ReceiveOptions& options) {
  auto* receive = app.add_subcommand(
      "receive",
      "Make a read-only subvolume of a send stream, on this machine (exit code 4: the "
      "stream's parent is not there)");
  receive->add_option("-f", options.file, "Read the stream from here instead of standard input")
      ->type_name("FILE");
  receive->add_flag("--dump", options.dump, "Print the stream, one command a line");
  receive->add_option("path", options.path, "A directory on BTRFS; parents are looked for below it")
      ->type_name("PATH");
}

void define_publish_options(CLI::App& publish, PublishOptions& options) {
  publish.add_option("-t,--tag", options.tags, "Give the version this tag; may be repeated")
      ->type_name("TAG")
      ->expected(1);
  publish
      .add_option(
          "--boot", options.boot,
          "The directory with the boot files: NAME within PATH, or ./DIR or /DIR to copy it "
          "in; '' for none")
      ->type_name("DIR");
  publish
      .add_option("--target", options.target,
                  "The disk that an iSCSI target exports: NAME within PATH, or ./FILE or /FILE to "
                  "copy it in; '' for none")
      ->type_name("FILE");
  publish
      .add_option("--format", options.format,
                  "The format of the disk image, if name and content do not say it: raw, qcow2, "
                  "vmdk, vdi, vhdx, vpc")
      ->type_name("FORMAT");
  publish
      .add_option("--as", options.disk_name,
                  "What the disk is called in the version (as before, else disk.raw)")
      ->type_name("NAME");
  publish.add_flag("--checksum", options.checksum,
                   "Compare also files whose size and time are those of the version before");
  publish.add_flag("--allow-changing", options.allow_changing,
                   "Take files that change meanwhile as they are read");
  publish.add_flag("--dry-run", options.dry_run, "Only say what would be published");
}

void define_options(CLI::App& app, Arguments& arguments) {
  app.require_subcommand(1);
  app.fallthrough();  // --server and --json are taken after the command too
  app.add_option("--server", arguments.server, "The master or cache to ask (or ICBD_SERVER)")
      ->capture_default_str()
      ->type_name("URL");
  app.add_flag("--json", arguments.json, "Print the server's answer as JSON");
  app.set_version_flag("--version", "icbd " ICBD_VERSION);

  auto* publish = app.add_subcommand(
      "publish", "Make a subvolume, a directory or a disk image the next version of an image");
  publish->add_option("image", arguments.publish.image, "The image; made if it is new")
      ->required()
      ->type_name("IMAGE");
  publish
      ->add_option("path", arguments.publish.path,
                   "A subvolume, directory or disk image on the master")
      ->required()
      ->type_name("PATH");
  publish->add_option("-m,--message", arguments.publish.message, "What is new in this version")
      ->required()
      ->type_name("MSG");
  define_publish_options(*publish, arguments.publish);
  publish->add_flag("--no-wait", arguments.no_wait, "Return at once with the job's number");

  auto* list = app.add_subcommand("list", "List the images, or the versions of one");
  list->add_option("image", arguments.list_image, "The image")->type_name("IMAGE");

  auto* status = app.add_subcommand("status", "Show how the server is doing");
  status->add_flag("--watch", arguments.watch, "Show it again every second");

  auto* wait = app.add_subcommand("wait", "Wait until a version is complete on the server");
  wait->add_option("version", arguments.wait_version, "IMAGE, IMAGE@NUMBER or IMAGE@latest")
      ->required()
      ->type_name("VERSION");
  wait->add_option("--timeout", arguments.wait_seconds, "Give up after so many seconds")
      ->check(CLI::PositiveNumber)
      ->type_name("S");

  define_receive(app, arguments.receive);
}

void define_adopt(CLI::App& app, AdoptOptions& options) {
  auto* adopt = app.add_subcommand(
      "adopt", "Make read-only snapshots that are there already versions, where they are");
  adopt->add_option("image", options.image, "The image; made if it is new")
      ->required()
      ->type_name("IMAGE");
  adopt
      ->add_option("paths", options.paths,
                   "Snapshots on the master, on the repository's filesystem")
      ->required()
      ->type_name("PATH...");
  adopt->add_flag("--keep-order", options.keep_order,
                  "Number them as given, not by the time at which they were made");
  adopt->add_flag("--dry-run", options.dry_run, "Only say what would be adopted");
  adopt->add_flag("--wait", options.wait, "Wait until all of them are versions");
}

void define_offline_commands(CLI::App& app, Arguments& arguments) {
  auto* fsck = app.add_subcommand("fsck", "Check a repository whose daemon is stopped");
  fsck->footer(
      "Exit codes: 0 nothing was found, 1 all that was found is repaired, 2 it could not be "
      "checked, 3 findings are left.");
  auto* config = fsck->add_option("--config", arguments.fsck.config, "The daemon's configuration")
                     ->type_name("FILE");
  fsck->add_option("--repository", arguments.fsck.repository, "The repository's directory")
      ->type_name("DIR")
      ->excludes(config);
  fsck->add_flag("--repair", arguments.fsck.repair, "Put right what can be, and say what was done");
  fsck->add_flag("--data", arguments.fsck.data, "Read every byte too");
}

// Commands and long options: what a mistyped word is held against.
std::vector<std::string> known_words(const CLI::App& app) {
  std::vector<std::string> words;
  const auto add_options = [&words](const CLI::App& of) {
    for (const CLI::Option* option : of.get_options())
      for (const std::string& name : option->get_lnames()) words.push_back("--" + name);
  };
  add_options(app);
  for (const CLI::App* command : app.get_subcommands({})) {
    words.push_back(command->get_name());
    add_options(*command);
  }
  return words;
}

bool is_command(const CLI::App& app, const std::string& word) {
  return std::ranges::any_of(app.get_subcommands({}),
                             [&](const CLI::App* command) { return command->get_name() == word; });
}

// The first word that is neither a command nor an option's value, if no command was recognised;
// else the first option that nobody knows.
std::string unknown_word(const CLI::App& app, std::span<const std::string> arguments) {
  const bool has_command = !app.get_subcommands().empty();
  const std::vector<std::string> known = known_words(app);
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    std::string word = arguments[i].substr(0, arguments[i].find('='));
    if (word == "--") break;
    if (word.starts_with("--") && std::ranges::find(known, word) == known.end()) return word;
    if (arguments[i] == "--server") ++i;
    if (!word.starts_with('-') && !has_command) return is_command(app, word) ? "" : word;
  }
  return {};
}

int explain_usage(const CLI::App& app, const CLI::ParseError& error,
                  std::span<const std::string> arguments, const Terminal& terminal) {
  const std::string word = unknown_word(app, arguments);
  if (word.empty()) {
    terminal.errors << fmt::format("icbd: {}\n", error.what());
  } else {
    const std::vector<std::string> known = known_words(app);
    const std::vector<std::string_view> candidates(known.begin(), known.end());
    const std::string_view meant = closest(word, candidates);
    terminal.errors << fmt::format("icbd: \"{}\" is not a command or option of icbd{}\n", word,
                                   meant.empty() ? "" : fmt::format("; did you mean {}?", meant));
  }
  terminal.errors << "Run icbd --help for all of them.\n";
  return exit_usage;
}

Status dispatch(const CLI::App& app, Arguments& arguments, const Surroundings& surroundings,
                const Terminal& terminal) {
  if (app.got_subcommand("receive")) {
    if (arguments.json)
      return fail(ErrorCode::invalid_argument, "--json is for commands that ask a server");
    return receive(terminal, arguments.receive, surroundings.input_fd);
  }
  ICBD_ASSIGN(const auto server, rest::HttpClient::make(arguments.server));
  const Context context{.server = server, .terminal = terminal, .json = arguments.json};
  if (app.got_subcommand("publish")) {
    arguments.publish.wait = !arguments.no_wait;
    return publish(context, arguments.publish, surroundings.working_directory);
  }
  if (app.got_subcommand("list"))
    return list(context,
                arguments.list_image.empty() ? std::nullopt : std::optional(arguments.list_image));
  if (app.got_subcommand("adopt"))
    return adopt(context, arguments.adopt, surroundings.working_directory);
  if (app.got_subcommand("status")) return show_status(context, arguments.watch);
  WaitOptions options{.version = arguments.wait_version, .timeout = std::nullopt};
  if (arguments.wait_seconds > 0)
    options.timeout =
        std::chrono::milliseconds(static_cast<std::int64_t>(arguments.wait_seconds * 1000));
  return wait_until_complete(context, options);
}

}  // namespace

ExitCode exit_code_of(const Error& error) {
  switch (error.code()) {
    case ErrorCode::invalid_argument:
      return exit_usage;
    case ErrorCode::unavailable:
      return exit_unreachable;
    case ErrorCode::not_found:
      return exit_not_found;
    default:
      return exit_failed;
  }
}

int run(std::span<const std::string> arguments, const Surroundings& surroundings,
        const Terminal& terminal) {
  Arguments parsed;
  parsed.server = surroundings.server.empty() ? default_server : surroundings.server;
  CLI::App app("Publishes images and shows what masters and caches hold.", "icbd");
  define_options(app, parsed);
  define_adopt(app, parsed.adopt);
  define_offline_commands(app, parsed);
  try {
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::Success& request) {  // --help, --version
    app.exit(request, terminal.out, terminal.errors);
    return exit_done;
  } catch (const CLI::ParseError& error) {
    return explain_usage(app, error, arguments, terminal);
  }
  if (app.got_subcommand("fsck"))
    return fsck(parsed.fsck, surroundings.working_directory, terminal, parsed.json);
  try {
    const Status done = dispatch(app, parsed, surroundings, terminal);
    if (done) return exit_done;
    terminal.errors << fmt::format("icbd: {}\n", done.error().message());
    return exit_code_of(done.error());
  } catch (const nlohmann::json::exception& error) {
    terminal.errors << fmt::format("icbd: {} answered in a form that is not known here: {}\n",
                                   parsed.server, error.what());
    return exit_failed;
  }
}

}  // namespace icbd::cli
