#include "pull_status.h"

#include <fmt/format.h>

#include <algorithm>

#include "icbd/base/clock.h"

namespace icbd::cache {
namespace {

using nlohmann::json;

json utc_or_null(const std::optional<Timestamp>& time) {
  return time ? json(format_utc(*time)) : json();
}

// Names of snapshots are somebody else's, and may be no UTF-8.
std::string printable(std::string_view name) {
  std::string text(name);
  std::ranges::replace_if(text, [](char c) { return c < ' ' || c > '~'; }, '?');
  return text;
}

json to_json(const pull::ImageStatus& image) {
  json gone = json::array();
  for (const VersionNumber number : image.gone) gone.push_back(number.value());
  json newest;
  if (!image.newest.empty())
    newest = {{"name", printable(image.newest)}, {"created", format_utc(image.newest_created)}};
  return {{"image", image.image},
          {"snapshots", image.snapshots},
          {"newest", std::move(newest)},
          {"behind", image.behind},
          {"behind_since", utc_or_null(image.behind_since)},
          {"wanted", image.wanted},
          {"gone", std::move(gone)},
          {"skipped", image.skipped}};
}

json to_json(const pull::PullStatus& pull) {
  constexpr std::uint64_t milliseconds = 1000;
  const auto elapsed = static_cast<std::uint64_t>(std::max<std::int64_t>(pull.elapsed.count(), 1));
  return {{"image", pull.image},
          {"snapshot", printable(pull.snapshot)},
          {"version", pull.number.value()},
          {"parent", pull.parent.empty() ? json() : json(printable(pull.parent))},
          {"phase", pull::to_string(pull.phase)},
          {"bytes_received", pull.bytes_received},
          {"rate_bytes_per_second", pull.bytes_received * milliseconds / elapsed},
          {"seconds", elapsed / milliseconds},
          {"silent_seconds", pull.silence.count() / 1000}};
}

json to_json(const pull::FailedPull& failed) {
  return {{"image", failed.image},
          {"snapshot", printable(failed.snapshot)},
          {"error", failed.error},
          {"attempts", failed.attempts},
          {"refused", failed.refused}};
}

template <typename Item>
json list_of(const std::vector<Item>& items) {
  json list = json::array();
  for (const Item& item : items) list.push_back(to_json(item));
  return list;
}

}  // namespace

json describe_pulling(const pull::Puller& puller, const config::Cache& configuration) {
  const pull::PullerStatus status = puller.status();
  return {{"kind", "ssh"},
          {"address", configuration.source_url},
          {"reachable", status.reachable},
          {"error", status.error.empty() ? json() : json(status.error)},
          {"last_contact", utc_or_null(status.last_contact)},
          {"trust", pull::trust},
          {"bytes_received", status.bytes_received},
          {"images", list_of(status.followed)},
          {"skipped", status.skipped},
          {"pulls", list_of(status.pulls)},
          {"failed", list_of(status.failed)}};
}

void add_what_is_there(replicator::SubscriptionStatus& status, const pull::Puller& puller) {
  const pull::PullerStatus all = puller.status();
  const std::string& name = status.subscription.image;
  status.error = all.error;
  for (const pull::FailedPull& failed : all.failed)
    if (failed.image == name)
      status.error = fmt::format("{}: {}", printable(failed.snapshot), failed.error);
  const auto image = std::ranges::find(all.followed, name, &pull::ImageStatus::image);
  if (image != all.followed.end()) {
    status.behind_versions = image->wanted;
  } else if (status.error.empty() && all.reachable &&
             !std::ranges::binary_search(all.images, name)) {
    status.error = fmt::format("there is no directory {} at the source yet", name);
  }
  const std::string& tag = status.subscription.tag;
  if (status.error.empty() && !tag.empty() && tag != "current")
    status.error = "a machine without icbd has no tags: subscribe to the newest versions";
}

}  // namespace icbd::cache
