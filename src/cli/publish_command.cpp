#include <fmt/format.h>

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
  bool no_wait = false;
};

constexpr std::chrono::milliseconds poll_interval{200};

// The job's last report, when it is done. A failed job is an error.
Result<json> follow(const Context& context, const std::string& job, const std::string& image) {
  std::optional<ProgressBar> bar;
  if (!context.json) bar.emplace(context.terminal, fmt::format("publishing {}", image));
  while (true) {
    ICBD_ASSIGN(json report, context.server.get(fmt::format("/api/jobs/{}", job)));
    const std::string state = report.value("state", "");
    if (state == "done") return report;
    if (state == "failed") {
      const json error = report.value("error", json::object());
      return fail(parse_error_code(error.value("code", "")).value_or(ErrorCode::io),
                  error.value("message", "the server does not say why"));
    }
    if (bar) bar->update(progress_of_job(report));
    if (!context.terminal.pause(poll_interval))
      return fail(ErrorCode::cancelled,
                  fmt::format("not waiting any longer; the master goes on with job {}", job));
  }
}

void print_result(const Terminal& terminal, const json& result) {
  const json version = result.value("version", json::object());
  for (const json& warning : result.value("warnings", json::array()))
    terminal.errors << "warning: " << printable(warning.get<std::string>()) << "\n";
  terminal.out << fmt::format("published {}@{}: {} hashed, {} taken over from the version before\n",
                              printable(version.value("image", "")), version.value("number", 0u),
                              format_size(result.value("bytes_hashed", std::uint64_t{0})),
                              format_size(result.value("bytes_inherited", std::uint64_t{0})));
}

Status publish(const Context& context, const PublishOptions& options,
               const std::filesystem::path& working_directory) {
  ICBD_TRY(catalog::check_image_name(options.image));
  const std::filesystem::path path = (working_directory / options.path).lexically_normal();
  ICBD_ASSIGN(const json started,
              context.server.post(fmt::format("/api/images/{}/versions", options.image),
                                  {{"path", path.string()}, {"message", options.message}}));
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
  arguments.word(word_path, options->path, "A subvolume on the master");
  arguments.option("-m,--message", word_text, options->message, "What is new in this version",
                   Need::required);
  arguments.flag("--no-wait", options->no_wait, "Return at once with the job's number");
  return AskServer([options](const Context& context) {
    return publish(context, *options, context.surroundings.working_directory);
  });
}

}  // namespace icbd::cli
