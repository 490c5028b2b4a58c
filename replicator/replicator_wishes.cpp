// What people wish: pulls, subscriptions, pins.

#include <fmt/format.h>

#include <algorithm>

#include "icbd/replicator/replicator.h"
#include "icbd/replicator/wishes.h"

#include "describe.h"

namespace icbd::replicator {
namespace {

using namespace std::chrono_literals;

// Of one image: the one that is filled, and the next one's shape meanwhile.
constexpr std::size_t begun_at_once = 2;
// Between two attempts at a version that was refused.
constexpr auto refused_pause = 60s;

}  // namespace

Status Replicator::change_wishes(const Status& changed) {
  ICBD_TRY(changed);
  ICBD_TRY(reload_table());
  look_now();
  return {};
}

Status Replicator::pull(VersionSerial serial) {
  ICBD_ASSIGN(const catalog::Version version, repository_.catalog().version(serial));
  if (version.state == catalog::VersionState::complete) return {};
  return change_wishes(repository_.catalog().set_pulled(serial, true));
}

Status Replicator::unpull(VersionSerial serial) {
  return change_wishes(repository_.catalog().set_pulled(serial, false));
}

Status Replicator::subscribe(const catalog::Subscription& subscription) {
  return change_wishes(repository_.catalog().set_subscription(subscription));
}

Status Replicator::unsubscribe(const std::string& image) {
  return change_wishes(repository_.catalog().remove_subscription(image));
}

Status Replicator::pin(VersionSerial serial, std::string reason) {
  return change_wishes(repository_.catalog().set_pin(
      serial, catalog::Pin{.reason = std::move(reason), .since = clock_.wall()}));
}

Status Replicator::unpin(VersionSerial serial) {
  return change_wishes(repository_.catalog().set_pin(serial, std::nullopt));
}

// What its subscription says, else what is configured.
TransferMode Replicator::transfer_mode_of(const std::string& image) const {
  const auto table = versions();
  const auto found = std::ranges::find(table->subscriptions, image, &catalog::Subscription::image);
  if (found == table->subscriptions.end() || found->transfer.empty()) return live_.transfer;
  return transfer_mode(found->transfer);
}

// Begins what is wished for and not here, a few of each image at a time. True if something is left
// that nobody else will remind us of.
bool Replicator::pursue_wishes() {
  if (unreachable_since_) return true;
  if (!options_.pursue_wishes) return false;
  const auto table = versions();
  bool left = false;
  for (const std::string& image : table->images) {
    std::size_t begun = 0;
    for (const catalog::Version& version : wanted_versions(*table, image)) {
      if (version.state == catalog::VersionState::complete) continue;
      left = true;
      const Pursuit now =
          pursue(version, version.pulled ? FillReason::pull : FillReason::subscription);
      // One shape after the other: the most wanted one is to be filled first.
      if (now == Pursuit::opening) break;
      if (now == Pursuit::on_its_way && ++begun == begun_at_once) break;
    }
  }
  return left;
}

Replicator::Pursuit Replicator::pursue(const catalog::Version& version, FillReason reason) {
  const VersionSerial serial = version.serial;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_ || dropping_.contains(serial)) return Pursuit::put_off;
    if (opening_.contains(serial)) return Pursuit::opening;
    const auto tried = tried_.find(serial);
    if (refused_.contains(serial) && tried != tried_.end() &&
        clock_.now() - tried->second < refused_pause)
      return Pursuit::put_off;
    if (refused_.contains(serial)) tried_[serial] = clock_.now();
  }
  if (opened(serial)) {
    want(serial, reason);
    return Pursuit::on_its_way;
  }
  open(serial, true, [this, serial, reason](const auto& opened) {
    if (!opened) return;  // tried again when it is time to look again
    want(serial, reason);
    look_now();
  });
  return Pursuit::opening;
}

void Replicator::look_now() {
  {
    const std::lock_guard lock(mutex_);
    look_now_ = true;
  }
  changed_.notify_all();
}

std::vector<SubscriptionStatus> Replicator::subscriptions() const {
  const auto table = versions();
  const auto arrivals = arriving();
  const auto refused = refusals();
  std::vector<SubscriptionStatus> all;
  for (const catalog::Subscription& subscription : table->subscriptions) {
    SubscriptionStatus status{
        .subscription = subscription, .wanted = wanted_by(*table, subscription), .error = {}};
    for (const catalog::Version& version : status.wanted) {
      if (version.state == catalog::VersionState::complete) continue;
      ++status.behind_versions;
      const auto arrival = std::ranges::find(arrivals, version.serial,
                                             [](const auto& of) { return of.first.serial; });
      const auto refusal = std::ranges::find(refused, version.serial,
                                             [](const Refusal& of) { return of.version.serial; });
      if (arrival != arrivals.end()) {
        const ArrivalProgress& progress = arrival->second;
        status.behind_bytes += progress.bytes_pending != 0
                                   ? progress.bytes_pending
                                   : progress.bytes_total - progress.bytes_done;
        if (status.error.empty()) status.error = progress.failure;
      } else {
        status.behind_bytes += version.facts.data_bytes;
      }
      if (refusal != refused.end() && status.error.empty())
        status.error = fmt::format("{}: {}", name_of(version), refusal->error.message());
    }
    if (status.wanted.empty())
      status.error = std::ranges::binary_search(table->images, subscription.image)
                         ? fmt::format("image {} has no version tagged {}", subscription.image,
                                       subscription.tag)
                         : fmt::format("the master has no image {} yet", subscription.image);
    all.push_back(std::move(status));
  }
  return all;
}

}  // namespace icbd::replicator
