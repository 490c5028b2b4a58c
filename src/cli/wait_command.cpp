#include <fmt/format.h>

#include "icbd/catalog/names.h"

#include "command.h"
#include "format.h"
#include "progress_bar.h"

namespace icbd::cli {
namespace {

using nlohmann::json;

struct WaitOptions {
  std::string version;  // IMAGE, IMAGE@NUMBER or IMAGE@latest
  std::optional<double> seconds;
};

constexpr std::chrono::milliseconds poll_interval{200};
// A version that was just published is known to a cache when it next asks its master.
constexpr std::chrono::seconds announcement_grace{10};

struct Wanted {
  std::string image;
  std::string number;  // or "latest"
};

Result<Wanted> parse_wanted(const std::string& text) {
  const std::size_t at = text.find('@');
  Wanted wanted{.image = text.substr(0, at), .number = "latest"};
  ICBD_TRY(catalog::check_image_name(wanted.image));
  if (at == std::string::npos || text.substr(at + 1) == "latest") return wanted;
  ICBD_ASSIGN(const auto version, catalog::parse_version_name(text));
  wanted.number = std::to_string(version.number.value());
  return wanted;
}

Progress read_progress(const json& version) {
  Progress progress;
  const json reported = version.value("progress", json::object());
  progress.done = reported.value("bytes_done", std::uint64_t{0});
  progress.total = reported.value("bytes_total", std::uint64_t{0});
  if (const json rate = reported.value("rate_bytes_per_second", json()); rate.is_number())
    progress.bytes_per_second = rate.get<std::uint64_t>();
  if (const json eta = reported.value("eta_seconds", json()); eta.is_number())
    progress.remaining = std::chrono::seconds(static_cast<std::int64_t>(eta.get<double>()));
  return progress;
}

class Waiting {
 public:
  Waiting(const Context& context, Wanted wanted, std::optional<std::chrono::milliseconds> timeout)
      : context_(context),
        wanted_(std::move(wanted)),
        timeout_(timeout),
        started_(context.terminal.clock.now()) {
    if (!context.json)
      bar_.emplace(context.terminal, fmt::format("{}@{}", wanted_.image, wanted_.number));
  }

  // The complete version.
  Result<json> run() {
    while (true) {
      Result<json> version = context_.server.get(
          fmt::format("/api/images/{}/versions/{}", wanted_.image, wanted_.number));
      if (version && version->value("state", "") == "complete") return version;
      if (!version) {
        const bool may_come =
            version.error().code() == ErrorCode::not_found && elapsed() < announcement_grace;
        if (!may_come) return version;
      } else {
        // `latest` is the one that was the latest first: a newer one is not waited for.
        wanted_.number = std::to_string(version->value("number", 0u));
        if (bar_) bar_->update(read_progress(*version));
      }
      ICBD_TRY(rest());
    }
  }

 private:
  Clock::Duration elapsed() const { return context_.terminal.clock.now() - started_; }

  Status rest() {
    if (timeout_ && elapsed() >= *timeout_)
      return fail(ErrorCode::timed_out,
                  fmt::format("{}@{} was not complete within {} s", wanted_.image, wanted_.number,
                              static_cast<double>(timeout_->count()) / 1000));
    if (!context_.terminal.pause(poll_interval))
      return fail(ErrorCode::cancelled, "not waiting any longer; the arrival goes on");
    return {};
  }

  const Context& context_;
  Wanted wanted_;
  const std::optional<std::chrono::milliseconds> timeout_;
  const Clock::TimePoint started_;
  std::optional<ProgressBar> bar_;
};

// One that the server does not know yet may be on its way from the master: that is waited for too,
// but not for long.
Status wait_until_complete(const Context& context, const WaitOptions& options) {
  ICBD_ASSIGN(Wanted wanted, parse_wanted(options.version));
  std::optional<std::chrono::milliseconds> timeout;
  if (options.seconds)
    timeout = std::chrono::milliseconds(static_cast<std::int64_t>(*options.seconds * 1000));
  Result<json> version = Waiting(context, std::move(wanted), timeout).run();
  if (!version) return std::unexpected(std::move(version).error());
  if (context.json)
    context.terminal.out << version->dump(2) << "\n";
  else
    context.terminal.out << fmt::format(
        "{}@{} is complete, {}\n", printable(version->value("image", "")),
        version->value("number", 0u), format_size(version->value("data_bytes", std::uint64_t{0})));
  return {};
}

}  // namespace

Action define_wait(Arguments& arguments) {
  const auto options = std::make_shared<WaitOptions>();
  arguments.word(word_version, options->version, "Which one; IMAGE alone for its latest");
  arguments.option("--timeout", word_seconds, options->seconds, "Give up after so many seconds");
  return AskServer(
      [options](const Context& context) { return wait_until_complete(context, *options); });
}

}  // namespace icbd::cli
