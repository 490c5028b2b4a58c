#include <fmt/format.h>

#include "icbd/catalog/names.h"

#include "commands.h"
#include "format.h"
#include "progress_bar.h"

namespace icbd::cli {
namespace {

using nlohmann::json;

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

}  // namespace

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
  if (!options.wait) {
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

}  // namespace icbd::cli
