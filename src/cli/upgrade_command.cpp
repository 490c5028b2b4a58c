// `icbd upgrade`: a cache's worker is replaced by a new program while its mount is in use.
#include <fmt/format.h>

#include <algorithm>

#include "answers.h"
#include "command.h"

namespace icbd::cli {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;

// The holder gives a new program a minute, and the old one half of that to hand over.
constexpr std::chrono::seconds longest_upgrade{120};
constexpr std::chrono::milliseconds look_interval{50};
// How the holder says that the worker before has ended as it should.
constexpr std::string_view handed_over = "it handed over";

struct WorkerStatus {
  std::uint64_t starts = 0;
  std::uint64_t process = 0;
  std::string version;
  std::string last_end;
  std::uint64_t upgrade_failures = 0;
  std::string upgrade_failure;
};

Result<WorkerStatus> ask_worker(const Context& context) {
  ICBD_ASSIGN(const json status, context.server.get("/api/status"));
  const json worker = status.value("worker", json::object());
  if (!worker.is_object() || worker.empty())
    return fail(
        ErrorCode::unsupported,
        "the server is no cache: only a cache has a worker that can be replaced while it is "
        "in use");
  return WorkerStatus{.starts = number(worker, "starts"),
                      .process = number(worker, "process"),
                      .version = text(status, "version"),
                      .last_end = text(worker, "last_end"),
                      .upgrade_failures = number(worker, "upgrade_failures"),
                      .upgrade_failure = text(worker, "upgrade_failure")};
}

Result<WorkerStatus> wait_for_the_next(const Context& context, const WorkerStatus& before) {
  const auto deadline = std::chrono::steady_clock::now() + longest_upgrade;
  do {
    const auto now = ask_worker(context);  // nobody answers for a moment
    if (now && now->starts > before.starts) return *now;
    if (now && now->starts == before.starts && now->upgrade_failures > before.upgrade_failures)
      return fail(ErrorCode::io, fmt::format("the upgrade failed: {}; icbd {} goes on",
                                             now->upgrade_failure, now->version));
    if (std::chrono::steady_clock::now() > deadline)
      return fail(ErrorCode::timed_out,
                  fmt::format("no new worker after {} s: look into the cache's log",
                              longest_upgrade.count()));
  } while (context.terminal.pause(look_interval));
  return fail(ErrorCode::cancelled, "interrupted; the replacement goes on, see icbd status");
}

void print_outcome(const Context& context, const WorkerStatus& before, const WorkerStatus& now) {
  if (context.json)
    print_json(context.terminal, {{"version", now.version},
                                  {"process", now.process},
                                  {"version_before", before.version},
                                  {"process_before", before.process}});
  else
    context.terminal.out << fmt::format(
        "icbd {} (process {}) has taken over from {} (process {})\n", now.version, now.process,
        before.version, before.process);
}

Status upgrade(const Context& context, const std::string& program) {
  ICBD_ASSIGN(const WorkerStatus before, ask_worker(context));
  ICBD_TRY(context.server.post("/api/upgrade", {{"program", program}}));
  ICBD_ASSIGN(const WorkerStatus now, wait_for_the_next(context, before));
  if (now.last_end.starts_with("the upgrade failed"))
    return fail(ErrorCode::io, fmt::format("{}; icbd {} goes on", now.last_end, now.version));
  // It died or hung meanwhile, and whoever has taken over from it is of the program before.
  if (now.last_end != handed_over)
    return fail(ErrorCode::io, fmt::format("the upgrade failed: the worker did not hand over: {}; "
                                           "icbd {} goes on, look into the cache's log",
                                           now.last_end, now.version));
  print_outcome(context, before, now);
  return {};
}

}  // namespace

Action define_upgrade(Arguments& arguments) {
  const auto program = std::make_shared<std::string>();
  arguments.option(
      "--program", word_file, *program,
      "A program beside the cache's own (icbd-cache-NEXT); else the one that is installed now");
  return AskServer([program](const Context& context) { return upgrade(context, *program); });
}

}  // namespace icbd::cli
