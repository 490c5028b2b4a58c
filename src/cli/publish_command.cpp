#include <fmt/format.h>

#include <optional>
#include <string>
#include <vector>

#include "icbd/catalog/names.h"

#include "command.h"
#include "format.h"
#include "progress_bar.h"

namespace icbd::cli {
namespace {

using nlohmann::json;

struct PublishOptions {
  std::string image;
  std::string path;
  std::string message;
  std::vector<std::string> tags;
  // None if they were not given; empty: nothing is to be marked.
  std::optional<std::string> boot, target;
  std::string format;
  std::string disk_name;
  bool checksum = false;
  bool allow_changing = false;
  bool dry_run = false;
  bool no_wait = false;
};

constexpr std::chrono::milliseconds poll_interval{200};

// Bytes are counted anew in each phase, so each has a bar of its own.
std::string label_of(const json& report, const std::string& image) {
  const std::string phase = report.value("phase", "");
  const bool counts = phase == "copying" || phase == "converting" || phase == "hashing";
  return fmt::format("{} {}", counts ? phase : "publishing", image);
}

// The job's last report, when it is done. A failed job is an error.
Result<json> follow(const Context& context, const std::string& job, const std::string& image) {
  std::optional<ProgressBar> bar;
  std::string label;
  while (true) {
    ICBD_ASSIGN(json report, context.server.get(fmt::format("/api/jobs/{}", job)));
    const std::string state = report.value("state", "");
    if (state == "done") return report;
    if (state == "failed") {
      const json error = report.value("error", json::object());
      return fail(parse_error_code(error.value("code", "")).value_or(ErrorCode::io),
                  error.value("message", "the server does not say why"));
    }
    if (!context.json) {
      if (std::string now = label_of(report, image); now != label) {
        bar.reset();
        bar.emplace(context.terminal, label = std::move(now));
      }
      bar->update(progress_of_job(report));
    }
    if (!context.terminal.pause(poll_interval))
      return fail(ErrorCode::cancelled,
                  fmt::format("not waiting any longer; the master goes on with job {}", job));
  }
}

void print_remarks(const Terminal& terminal, const json& result) {
  for (const json& warning : result.value("warnings", json::array()))
    terminal.errors << "warning: " << printable(warning.get<std::string>()) << "\n";
  for (const json& note : result.value("notes", json::array()))
    terminal.out << printable(note.get<std::string>()) << "\n";
}

void print_result(const Terminal& terminal, const json& result) {
  const json version = result.value("version", json::object());
  print_remarks(terminal, result);
  terminal.out << fmt::format("published {}@{}: {} hashed, {} taken over from the version before\n",
                              printable(version.value("image", "")), version.value("number", 0u),
                              format_size(result.value("bytes_hashed", std::uint64_t{0})),
                              format_size(result.value("bytes_inherited", std::uint64_t{0})));
}

void print_plan(const Terminal& terminal, const std::string& image, const json& plan) {
  print_remarks(terminal, plan);
  const auto text = [&plan](const char* key) { return printable(plan.value(key, "")); };
  std::string kind = text("kind");
  if (plan.contains("disk_bytes"))
    kind += fmt::format(" disk of {}", format_size(plan.value("disk_bytes", std::uint64_t{0})));
  terminal.out << fmt::format("would publish {}@{} from a {}, about {} to read\n", image,
                              plan.value("number", 0u), kind,
                              format_size(plan.value("bytes_to_read", std::uint64_t{0})));
  for (const auto& [key, what] :
       {std::pair("boot_directory", "boot files"), std::pair("target_file", "target")})
    if (const std::string path = text(key); !path.empty())
      terminal.out << fmt::format("{}: {}\n", what, path);
}

// As shells tell commands from files: with a "." or "/" at its beginning it is a path from here,
// else one within what is published.
std::string marked_path(const std::string& word, const std::filesystem::path& working_directory) {
  if (!word.starts_with('.') && !word.starts_with('/')) return word;
  return (working_directory / word).lexically_normal().string();
}

json request_of(const PublishOptions& options, const std::filesystem::path& working_directory) {
  json request = {{"path", (working_directory / options.path).lexically_normal().string()},
                  {"message", options.message}};
  if (!options.tags.empty()) request["tags"] = options.tags;
  if (options.boot) request["boot"] = marked_path(*options.boot, working_directory);
  if (options.target) request["target"] = marked_path(*options.target, working_directory);
  if (!options.format.empty()) request["format"] = options.format;
  if (!options.disk_name.empty()) request["as"] = options.disk_name;
  if (options.checksum) request["checksum"] = true;
  if (options.allow_changing) request["allow_changing"] = true;
  if (options.dry_run) request["dry_run"] = true;
  return request;
}

Status publish(const Context& context, const PublishOptions& options,
               const std::filesystem::path& working_directory) {
  ICBD_TRY(catalog::check_image_name(options.image));
  ICBD_ASSIGN(const json started,
              context.server.post(fmt::format("/api/images/{}/versions", options.image),
                                  request_of(options, working_directory)));
  if (options.dry_run) {
    if (context.json)
      context.terminal.out << started.dump(2) << "\n";
    else
      print_plan(context.terminal, options.image, started.value("plan", json::object()));
    return {};
  }
  const std::string job = started.value("job", "");
  if (options.no_wait) {
    context.terminal.out << (context.json ? started.dump(2) : fmt::format("job {}", job)) << "\n";
    return {};
  }
  ICBD_ASSIGN(const json report, follow(context, job, options.image));
  if (context.json)
    context.terminal.out << report.dump(2) << "\n";
  else
    print_result(context.terminal, report.value("result", json::object()));
  return {};
}

}  // namespace

Action define_publish(Arguments& arguments) {
  const auto options = std::make_shared<PublishOptions>();
  arguments.word(word_image, options->image, "The image; made if it is new");
  arguments.word(word_path, options->path, "A subvolume, directory or disk image on the master");
  arguments.option("-m,--message", word_text, options->message, "What is new in this version",
                   Need::required);
  arguments.option("-t,--tag", word_tag, options->tags,
                   "Give the version this tag; may be repeated");
  arguments.option("--boot", word_directory, options->boot,
                   "The directory with the boot files: NAME within PATH, or ./DIR or /DIR to copy "
                   "it in; '' for none");
  arguments.option("--target", word_file, options->target,
                   "The disk that an iSCSI target exports: NAME within PATH, or ./FILE or /FILE to "
                   "copy it in; '' for none");
  arguments.option("--format", "FORMAT", options->format,
                   "The format of the disk image, if name and content do not say it: raw, qcow2, "
                   "vmdk, vdi, vhdx, vpc");
  arguments.option("--as", "NAME", options->disk_name,
                   "What the disk is called in the version (as before, else disk.raw)");
  arguments.flag("--checksum", options->checksum,
                 "Compare also files whose size and time are those of the version before");
  arguments.flag("--allow-changing", options->allow_changing,
                 "Take files that change meanwhile as they are read");
  arguments.flag("--dry-run", options->dry_run, "Only say what would be published");
  arguments.flag("--no-wait", options->no_wait, "Return at once with the job's number");
  return AskServer([options](const Context& context) {
    return publish(context, *options, context.surroundings.working_directory);
  });
}

}  // namespace icbd::cli
