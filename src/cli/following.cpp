#include "following.h"

#include <fmt/format.h>

#include "answers.h"
#include "format.h"
#include "progress_bar.h"

namespace icbd::cli {
namespace {

using nlohmann::json;

constexpr std::chrono::milliseconds poll_interval{200};
// A version that was just published is known to a cache when it next asks its master.
constexpr std::chrono::seconds announcement_grace{10};

Progress read_progress(const json& version) {
  Progress progress;
  const json reported = object_in(version, "progress");
  progress.done = number(reported, "bytes_done");
  progress.total = number(reported, "bytes_total");
  if (const json rate = reported.value("rate_bytes_per_second", json()); rate.is_number())
    progress.bytes_per_second = rate.get<std::uint64_t>();
  if (const json eta = reported.value("eta_seconds", json()); eta.is_number())
    progress.remaining = std::chrono::seconds(static_cast<std::int64_t>(eta.get<double>()));
  return progress;
}

// What keeps it from arriving; before it begins to, under another name.
std::string failure_of(const json& version) {
  const std::string failure = text(object_in(version, "progress"), "failure");
  return failure.empty() ? text(version, "obstacle") : failure;
}

class Following {
 public:
  Following(const rest::HttpClient& server, const Terminal& terminal, VersionWords words,
            const FollowOptions& options)
      : server_(server),
        terminal_(terminal),
        words_(std::move(words)),
        options_(options),
        started_(terminal.clock.now()) {
    if (!options.quiet) bar_.emplace(terminal, words_.name());
  }

  Result<json> run() {
    while (true) {
      Result<json> version = server_.get(words_.path());
      if (version && text(*version, "state") == "complete") return version;
      if (version) {
        words_.version = std::to_string(number(*version, "number"));
        show(*version);
      } else if (version.error().code() != ErrorCode::not_found ||
                 elapsed() >= announcement_grace) {
        return version;
      }
      ICBD_TRY(rest());
    }
  }

 private:
  Clock::Duration elapsed() const { return terminal_.clock.now() - started_; }

  void show(const json& version) {
    const std::string failure = failure_of(version);
    if (failure != failure_ && !failure.empty()) {
      if (bar_) bar_->finish();
      terminal_.errors << fmt::format("icbd: {}: {}\n", words_.name(), failure);
    }
    failure_ = failure;
    if (bar_) bar_->update(read_progress(version));
  }

  Status rest() {
    if (options_.timeout && elapsed() >= *options_.timeout)
      return fail(ErrorCode::timed_out,
                  fmt::format("{} was not complete within {} s", words_.name(),
                              static_cast<double>(options_.timeout->count()) / 1000));
    if (!terminal_.pause(poll_interval))
      return fail(ErrorCode::cancelled, options_.when_interrupted);
    return {};
  }

  const rest::HttpClient& server_;
  const Terminal& terminal_;
  VersionWords words_;
  const FollowOptions& options_;
  const Clock::TimePoint started_;
  std::string failure_;
  std::optional<ProgressBar> bar_;
};

}  // namespace

Result<json> follow_arrival(const rest::HttpClient& server, const Terminal& terminal,
                            VersionWords words, const FollowOptions& options) {
  return Following(server, terminal, std::move(words), options).run();
}

Result<json> follow_job(const Context& context, const std::string& job, const std::string& label,
                        const std::string& when_interrupted) {
  std::optional<ProgressBar> bar;
  if (!context.json) bar.emplace(context.terminal, label);
  while (true) {
    ICBD_ASSIGN(json report, context.server.get(fmt::format("/api/jobs/{}", job)));
    const std::string state = text(report, "state");
    if (state == "done") return report;
    if (state == "failed") {
      const json error = object_in(report, "error");
      return fail(parse_error_code(text(error, "code")).value_or(ErrorCode::io),
                  error.value("message", "the server does not say why"));
    }
    if (bar) bar->update(progress_of_job(report));
    if (!context.terminal.pause(poll_interval)) return fail(ErrorCode::cancelled, when_interrupted);
  }
}

void print_complete(const Context& context, const json& version) {
  if (context.json) return print_json(context.terminal, version);
  context.terminal.out << fmt::format("{} is complete, {}\n", version_name(version),
                                      format_size(number(version, "data_bytes")));
}

}  // namespace icbd::cli
