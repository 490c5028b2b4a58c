#include <fmt/format.h>

#include <sstream>

#include "answers.h"
#include "command.h"
#include "format.h"

namespace icbd::cli {
namespace {

using nlohmann::json;

constexpr std::chrono::milliseconds watch_interval{1'000};
constexpr std::string_view clear_screen = "\x1b[2J";
constexpr std::string_view to_first_line = "\x1b[H";
constexpr std::string_view clear_to_screen_end = "\x1b[J";

std::string line(std::string_view label, std::string_view value) {
  return fmt::format("{:<12}{}\n", label, value);
}

std::string describe_repository(const json& repository) {
  return line("repository", fmt::format("{}, {} free of {}", text(repository, "path"),
                                        format_size(number(repository, "free_bytes")),
                                        format_size(number(repository, "total_bytes"))));
}

std::string describe_master(const json& status) {
  const json data = status.value("data", json::object());
  return line("data", fmt::format("{}, {} connections, {} requests, {} sent", text(data, "listen"),
                                  number(data, "connections"), number(data, "requests"),
                                  format_size(number(data, "bytes_sent")))) +
         line("images", fmt::format("{} with {} versions", number(status, "images"),
                                    number(status, "versions")));
}

std::string describe_arrival(const json& version) {
  const json progress = version.value("progress", json::object());
  std::string description = fmt::format(
      "{}@{}  {}  {} of {}  {}/s", text(version, "image"), number(version, "number"),
      format_percent(number(progress, "bytes_done"), number(progress, "bytes_total")),
      format_size(number(progress, "bytes_done")), format_size(number(progress, "bytes_total")),
      format_size(number(progress, "rate_bytes_per_second")));
  if (const std::string phase = text(progress, "phase"); !phase.empty())
    description += "  " + phase;
  if (const std::string failure = text(progress, "failure"); !failure.empty())
    description += ": " + failure;
  description = line("arriving", description);
  if (const std::string why = text(progress, "transfer_why"); !why.empty())
    description += line("", fmt::format("as {}: {}", text(progress, "transfer"), why));
  return description;
}

std::string describe_followed(const json& master) {
  const bool reachable = master.value("reachable", false);
  std::string state = reachable ? "reachable" : "not reachable";
  if (master.value("offline", false)) state = "away: reads of what is not here fail at once";
  std::string description = line("master", fmt::format("{}, {}", text(master, "address"), state));
  if (const std::string error = text(master, "error"); !error.empty())
    description += line("", error);
  if (const std::string warning = text(master, "warning"); !warning.empty())
    description += line("warning", warning);
  for (const json& conflict : master.value("conflicts", json::array()))
    if (conflict.is_string())
      description += line("refused", printable(conflict.get<std::string>()));
  return description;
}

std::string describe_pull(const json& pull) {
  std::string description = fmt::format(
      "{}@{} {}: {}, {}, {}/s, {}", text(pull, "image"), number(pull, "version"),
      text(pull, "snapshot"), text(pull, "phase"), format_size(number(pull, "bytes_received")),
      format_size(number(pull, "rate_bytes_per_second")),
      text(pull, "parent").empty() ? "all of it" : "against " + text(pull, "parent"));
  constexpr std::uint64_t worth_saying = 10;
  if (const auto silent = number(pull, "silent_seconds");
      silent >= worth_saying && text(pull, "phase") == "receiving")
    description += fmt::format("; nothing has come for {} s", silent);
  return line("pulling", description);
}

std::string describe_image_there(const json& image) {
  std::string description;
  const std::string name = text(image, "image");
  if (const auto behind = number(image, "behind"); behind != 0)
    description +=
        line("behind", fmt::format("{}: {} not here, the oldest of {}", name,
                                   format_count(behind, "snapshot"), text(image, "behind_since")));
  for (const json& skipped : list_in(image, "skipped"))
    if (skipped.is_string()) description += line("skipped", printable(skipped.get<std::string>()));
  return description;
}

// A machine that runs no icbd.
std::string describe_source(const json& source) {
  const std::string contact = text(source, "last_contact");
  std::string description =
      line("source", fmt::format("{}, {}{}{}", text(source, "address"),
                                 source.value("reachable", false) ? "reachable" : "not reachable",
                                 contact.empty() ? "" : ", last seen ", contact));
  if (const std::string error = text(source, "error"); !error.empty())
    description += line("", error);
  description += line("trusted", text(source, "trust"));
  for (const json& pull : list_in(source, "pulls")) description += describe_pull(pull);
  for (const json& image : list_in(source, "images")) description += describe_image_there(image);
  for (const json& skipped : list_in(source, "skipped"))
    if (skipped.is_string()) description += line("skipped", printable(skipped.get<std::string>()));
  for (const json& failed : list_in(source, "failed"))
    description += line(failed.value("refused", false) ? "refused" : "failing",
                        fmt::format("{} {}: {}", text(failed, "image"), text(failed, "snapshot"),
                                    text(failed, "error")));
  return description;
}

// What a reader, or whoever looks after them, may wonder about.
std::string describe_view(const json& view) {
  std::string description = line("view", text(view, "mountpoint"));
  if (!view.value("visible", true))
    description += line("attention", "something else is mounted over the view");
  for (const json& file : view.value("served_files", json::array()))
    if (file.value("whole", false))
      description += line(
          "slow", fmt::format("{}@{} {}: opened {} times while it arrived; reopened, it is read at "
                              "full speed",
                              text(file, "image"), number(file, "version"), text(file, "path"),
                              number(file, "handles")));
  return description;
}

std::string describe_worker(const json& worker) {
  const std::string last_end = text(worker, "last_end");
  if (number(worker, "starts") < 2 || last_end.empty()) return "";
  return line("worker",
              fmt::format("start {}; the one before: {}", number(worker, "starts"), last_end));
}

std::string describe_wire(const json& wire) {
  std::string description = fmt::format("{} received", format_size(number(wire, "bytes_received")));
  if (const auto unpacked = number(wire, "bytes_unpacked"); unpacked != 0)
    description += fmt::format(", {} of files unpacked", format_size(unpacked));
  if (const std::string packing = text(wire, "packing"); !packing.empty())
    description += "; " + packing;
  return line("data", description);
}

std::string describe_cache(const json& status) {
  const json master = object_in(status, "master");
  const json source = object_in(status, "source");
  const json view = status.value("view", json::object());
  const json versions = status.value("versions", json::object());
  std::string description =
      (source.empty() ? describe_followed(master) : describe_source(source)) + describe_view(view) +
      describe_worker(status.value("worker", json::object())) +
      describe_wire(status.value("wire", json::object())) +
      line("images", fmt::format("{} with {} complete, {} arriving, {} remote versions",
                                 number(status, "images"), number(versions, "complete"),
                                 number(versions, "arriving"), number(versions, "remote")));
  for (const json& version : status.value("arriving", json::array()))
    description += describe_arrival(version);
  for (const json& refusal : status.value("refused", json::array()))
    description +=
        line("refused", fmt::format("{}@{}: {}", text(refusal, "image"), number(refusal, "version"),
                                    text(refusal, "reason")));
  return description;
}

// What was found at the last start and is not settled: somebody has to look.
std::string describe_recovery(const json& status) {
  std::string description;
  for (const json& finding : status.value("recovery", json::array()))
    if (!finding.value("settled", true)) description += line("attention", text(finding, "text"));
  return description;
}

std::string describe(const json& status) {
  const std::string role = text(status, "role");
  return line("role", fmt::format("{}, icbd {}", role, text(status, "version"))) +
         describe_repository(status.value("repository", json::object())) +
         (role == "cache" ? describe_cache(status) : describe_master(status)) +
         describe_recovery(status);
}

// Over what was shown before, line by line, so that nothing flickers; a line that is longer than
// the terminal is cut, so that it takes one line.
void redraw(const Terminal& terminal, const std::string& description) {
  std::istringstream lines(description);
  terminal.out << to_first_line;
  for (std::string line; std::getline(lines, line);)
    terminal.out << shorten(line, terminal.width) << clear_to_line_end << "\n";
  terminal.out << clear_to_screen_end << std::flush;
}

Status show_once(const Context& context) {
  ICBD_ASSIGN(const json status, context.server.get("/api/status"));
  if (context.json)
    print_json(context.terminal, status);
  else
    context.terminal.out << describe(status);
  context.terminal.out << std::flush;
  return {};
}

// A server that is restarted meanwhile is waited for.
Status watch_status(const Context& context) {
  const Terminal& terminal = context.terminal;
  if (context.json || !terminal.interactive) {
    do {
      ICBD_TRY(show_once(context));
    } while (terminal.pause(watch_interval));
    return {};
  }
  terminal.out << clear_screen;
  do {
    const Result<json> status = context.server.get("/api/status");
    redraw(terminal, status ? describe(*status) : printable(status.error().message()) + "\n");
  } while (terminal.pause(watch_interval));
  return {};
}

}  // namespace

Action define_status(Arguments& arguments) {
  const auto watch = std::make_shared<bool>(false);
  arguments.flag("--watch", *watch, "Show it again every second, until it is interrupted");
  return AskServer([watch](const Context& context) {
    return *watch ? watch_status(context) : show_once(context);
  });
}

}  // namespace icbd::cli
