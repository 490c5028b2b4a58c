#include <fmt/format.h>

#include "icbd/catalog/names.h"

#include "answers.h"
#include "command.h"
#include "format.h"
#include "progress_bar.h"

namespace icbd::cli {
namespace {

using nlohmann::json;

struct AdoptOptions {
  std::string image;
  std::vector<std::string> paths;
  bool keep_order = false;  // as given, not by the time at which they were made
  bool dry_run = false;
  bool wait = false;
};

constexpr std::chrono::milliseconds poll_interval{200};

void print_plan(const Terminal& terminal, const std::string& image, const json& snapshots) {
  terminal.out << fmt::format("would be adopted by {}, in this order:\n", image);
  for (const json& snapshot : snapshots)
    terminal.out << fmt::format("{}  {}  {}\n", text(snapshot, "created"), text(snapshot, "uuid"),
                                text(snapshot, "path"));
}

void print_result(const Terminal& terminal, const json& report) {
  for (const json& snapshot : report.value("snapshots", json::array())) {
    if (snapshot.contains("version"))
      terminal.out << fmt::format("adopted {} as {}@{}\n", text(snapshot, "path"),
                                  text(snapshot["version"], "image"),
                                  snapshot["version"].value("number", 0u));
    else if (snapshot.contains("error"))
      terminal.errors << fmt::format("icbd: {}\n", text(snapshot["error"], "message"));
  }
}

// The number of snapshots that are done, for the bar's label.
std::size_t count_done(const json& report) {
  std::size_t done = 0;
  for (const json& snapshot : report.value("snapshots", json::array()))
    if (snapshot.contains("version") || snapshot.contains("error")) ++done;
  return done;
}

// The job's last report. The bar is that of the snapshot under way.
Result<json> follow(const Context& context, const std::string& job, std::size_t count) {
  std::optional<ProgressBar> bar;
  std::size_t shown = count;
  while (true) {
    ICBD_ASSIGN(json report, context.server.get(fmt::format("/api/jobs/{}", job)));
    if (report.value("state", "") != "running") return report;
    const std::size_t done = count_done(report);
    if (!context.json && done != shown) {
      bar.emplace(context.terminal, fmt::format("adopting {} of {}", done + 1, count));
      shown = done;
    }
    if (bar) bar->update(progress_of_job(report));
    if (!context.terminal.pause(poll_interval))
      return fail(ErrorCode::cancelled,
                  fmt::format("interrupted; the master goes on with job {}", job));
  }
}

Status adopt(const Context& context, const AdoptOptions& options,
             const std::filesystem::path& working_directory) {
  ICBD_TRY(catalog::check_image_name(options.image));
  json paths = json::array();
  for (const auto& path : options.paths)
    paths.push_back((working_directory / path).lexically_normal().string());
  ICBD_ASSIGN(const json started,
              context.server.post(fmt::format("/api/images/{}/adoptions", options.image),
                                  {{"paths", std::move(paths)},
                                   {"keep_order", options.keep_order},
                                   {"dry_run", options.dry_run}}));
  const json snapshots = started.value("snapshots", json::array());
  const std::string job = started.value("job", "");
  if (options.dry_run || !options.wait) {
    if (context.json)
      print_json(context.terminal, started);
    else if (options.dry_run)
      print_plan(context.terminal, options.image, snapshots);
    else
      context.terminal.out << fmt::format("job {}\n", job);
    return {};
  }
  ICBD_ASSIGN(const json report, follow(context, job, snapshots.size()));
  if (context.json)
    print_json(context.terminal, report);
  else
    print_result(context.terminal, report);
  if (report.value("state", "") == "done") return {};
  return fail(ErrorCode::io, "not all snapshots were adopted");
}

}  // namespace

Action define_adopt(Arguments& arguments) {
  const auto options = std::make_shared<AdoptOptions>();
  arguments.word(word_image, options->image, "The image; made if it is new");
  arguments.words(word_path, options->paths,
                  "Snapshots on the master, on the repository's filesystem");
  arguments.flag("--keep-order", options->keep_order,
                 "Number them as given, not by the time at which they were made");
  arguments.flag("--dry-run", options->dry_run, "Only say what would be adopted");
  arguments.flag("--wait", options->wait, "Wait until all of them are versions");
  return AskServer([options](const Context& context) {
    return adopt(context, *options, context.surroundings.working_directory);
  });
}

}  // namespace icbd::cli
