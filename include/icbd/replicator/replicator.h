// The replicator: follows a source and brings its versions here.
//
// Purpose: keeps the catalog in step with the source, fetches shapes when somebody looks inside a
// version, fills versions in the background once somebody reads from them or wishes for them, lands
// them, and drops them.
// Lifecycle: start() goes on with arrivals that were under way and begins to follow the source;
// stop() ends everything with a checkpoint of each arrival. Both once.
// Guarantees: thread-safe. versions() and find() answer from memory. Of one image, one version is
// filled at a time (the next one then shares its chunks instead of fetching them twice): what
// somebody reads before what somebody pulled before what is subscribed, else in the order asked.
// Readers are never behind a fill. What fails is tried again by itself.
// A version whose number comes back with other content, and another master, are refused and
// reported; what is here is kept.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "icbd/applier/applier.h"
#include "icbd/replicator/arrival.h"
#include "icbd/replicator/fill_scheduler.h"

namespace icbd::replicator {

struct ReplicatorOptions {
  std::chrono::milliseconds fetch_timeout{20'000};
  // Between two comparisons with the source's catalog while it announces changes; else at most 1 s.
  std::chrono::milliseconds poll_interval{30'000};
  // Without the source for so long, it counts as away: reads of what is not here fail at once.
  std::chrono::milliseconds offline_after{20'000};
  FillPolicy fill = FillPolicy::on_read;
  // With on_read: so many bytes of a version must have been read (or all of a smaller one), so that
  // whoever looks at the first bytes of every file does not have every version fetched.
  std::uint64_t fill_threshold = 0;
  TransferMode transfer = TransferMode::automatic;
  std::uint64_t bandwidth_limit = 0;  // bytes a second in the background; 0: none
  std::uint64_t space_reserve = 0;    // bytes that stay unallocated; 0: see default_reserve()
  // Follow this repository, whatever was followed before.
  std::optional<Uuid> expected_source = std::nullopt;
  applier::Policy policy = {};
  // False: somebody else brings what people wish for; what is not here is not fetched from here.
  bool pursue_wishes = true;
  // False: another process has just done so, and readers are waiting for this one.
  bool ask_source_first = true;
  unsigned demand_threads = 16;  // requests of waiting readers under way at the same time
  unsigned images_at_once = 2;   // that are filled
  std::chrono::milliseconds stall_warning{30'000};  // a fill that stands still is logged after it
};

// A consistent picture of what this node knows. Immutable.
struct VersionTable {
  std::vector<std::string> images;         // sorted
  std::vector<catalog::Version> versions;  // by image, then number
  std::vector<catalog::Tag> tags;          // by image, then name
  std::vector<catalog::Subscription> subscriptions;

  // The versions of one image; none if it is not known.
  std::span<const catalog::Version> of(const std::string& image) const;
};

// The content of a version that can be looked into: either is set.
struct OpenedVersion {
  catalog::Version version;
  std::shared_ptr<Arrival> arrival;  // arriving
  std::shared_ptr<Staging> complete;
};

struct SourceStatus {
  bool reachable = false;
  std::optional<Uuid> repository;
  std::string error;        // why it is not reachable, or not used
  bool announcing = false;  // what is new there is heard of at once
  bool offline = false;     // away for so long that reads of what is not here fail at once
  std::string warning;      // something about it that a person should know
  std::vector<std::string> conflicts;  // versions of it that are refused, and why
};

// Why a version stays on this node.
struct Hold {
  VersionSerial serial;
  std::string kind;    // "pin", "subscription", "parent", "shape", "open"
  std::string detail;  // in words
};

// How far a subscription is.
struct SubscriptionStatus {
  catalog::Subscription subscription;
  std::vector<catalog::Version> wanted;  // the newest first
  std::size_t behind_versions = 0;       // of them, not complete
  std::uint64_t behind_bytes = 0;        // still to come, at most
  std::string error;                     // why it does not go on; empty if it does
};

// A version that could not be had when somebody last looked inside.
struct Refusal {
  catalog::Version version;
  Error error;
};

class Replicator {
 public:
  // Repository, source and clock must outlive it.
  Replicator(repository::Repository& repository, source::Source& source, const Clock& clock,
             ReplicatorOptions options, Logger logger);
  ~Replicator();

  // Called after every change of versions(), on the thread that made it; must not call back. Set it
  // before start().
  void set_observer(std::function<void()> observer) { observer_ = std::move(observer); }
  // Called when a complete version was given up, before anyone can open it again.
  void set_lost_observer(std::function<void(VersionSerial)> observer) {
    lost_observer_ = std::move(observer);
  }
  // Asks the source once before it returns, so that what it has is known (or that it is away),
  // unless the options say otherwise. Arrivals go on a moment later; who opens one waits for it.
  Status start();
  void stop();
  // Makes durable what has arrived, so that stop() has little left to do.
  void checkpoint();

  std::shared_ptr<const VersionTable> versions() const;
  std::optional<catalog::Version> find(VersionSerial serial) const;
  // Somebody else has changed the catalog.
  Status catalog_changed() { return reload_table(); }
  // The source says when something changes (it has just done so), or does so no longer: then it is
  // asked every second.
  void source_announces(bool announcing);
  // At once: null unless the version's shape is here.
  std::shared_ptr<const OpenedVersion> opened(VersionSerial serial);
  // The same after fetching the shape; retries for fetch_timeout while the source is away.
  using OpenDone = std::function<void(Result<std::shared_ptr<const OpenedVersion>>)>;
  void open(VersionSerial serial, OpenDone done) { open(serial, false, std::move(done)); }
  // Somebody has read so much from an arriving version: fills it, as the policy says.
  void note_read(Arrival& arrival, std::uint64_t bytes);
  // Fills an arriving version, whatever the policy says.
  void want(VersionSerial serial, FillReason reason = FillReason::pull);

  // What people wish; durable when these return, pursued in the background. not_found for an
  // unknown version.
  Status pull(VersionSerial serial);  // all of it, before subscriptions
  Status unpull(VersionSerial serial);
  Status subscribe(const catalog::Subscription& subscription);
  Status unsubscribe(const std::string& image);
  Status pin(VersionSerial serial, std::string reason);
  Status unpin(VersionSerial serial);
  std::vector<SubscriptionStatus> subscriptions() const;

  // What this part of the node holds a version for.
  std::vector<Hold> holds(VersionSerial serial) const;
  // What is here of the version goes; it is remote again. busy if it is held, naming the holds;
  // `others` are asked for theirs when nobody can open it any more.
  using OtherHolds = std::function<std::vector<Hold>(VersionSerial)>;
  Status drop(VersionSerial serial, const OtherHolds& others);

  // Somebody has found a complete version damaged: if it is, it is given up and remote again, to be
  // fetched by whoever wants it.
  void look_after(VersionSerial serial);

  // From now on: timeouts, intervals, fill, bandwidth and reserve of these; the others stay.
  void reconfigure(const ReplicatorOptions& options);
  FillPolicy fill_policy() const { return live_.fill; }

  std::vector<std::pair<catalog::Version, ArrivalProgress>> arriving() const;
  std::vector<Refusal> refusals() const;
  // What keeps a version of which nothing is here from coming, as far as is known; "" if nothing.
  std::string obstacle(VersionSerial serial) const;
  SourceStatus source_status() const;

 private:
  struct Opening {
    std::vector<OpenDone> waiting;
    Clock::TimePoint deadline;
    bool wanted = false;  // all of it
  };
  struct FillWatch {
    std::uint64_t moved = 0;  // bytes, when last looked at
    Clock::TimePoint since{};
    bool said = false;
  };

  // replicator.cpp: what exists, and filling
  void resume_arrivals();
  void resume(VersionSerial serial);
  Status begin_again(const catalog::Version& version, const Error& why);
  Status reload_table();
  void mark_arriving(VersionSerial serial);
  std::vector<std::shared_ptr<Arrival>> open_arrivals() const;
  std::vector<catalog::Version> parent_candidates(const catalog::Version& version) const;
  Status fill(VersionSerial serial, std::stop_token stop);
  Status fill_and_land(Arrival& arrival, std::stop_token stop);
  Status turn_complete(const catalog::Version& version, const Content* arrived);
  std::vector<catalog::Version> newest_of_other_images(const catalog::Version& version) const;
  Result<std::vector<std::shared_ptr<const DigestIndex>>> indexes_for(const Arrival& arrival);

  // replicator_follow.cpp
  Status follow_once();
  void follow(std::stop_token stop);
  void note_unreachable(const Error& error);
  void note_reachable(std::optional<Uuid> repository);
  Status check_identity(const source::CatalogSnapshot& snapshot);
  Status take_catalog(const source::CatalogSnapshot& snapshot);
  std::optional<std::string> add_remote(const catalog::VersionFacts& facts,
                                        const VersionTable& known);
  void watch_fills();

  // replicator_wishes.cpp
  TransferMode transfer_mode_of(const std::string& image) const;
  bool pursue_wishes();
  enum class Pursuit : std::uint8_t { put_off, opening, on_its_way };
  Pursuit pursue(const catalog::Version& version, FillReason reason);
  void look_now();
  Status change_wishes(const Status& changed);

  // replicator_drop.cpp
  Status drop_unheld(VersionSerial serial);
  bool end_arrival(VersionSerial serial);
  bool begin_dropping(VersionSerial serial);
  void end_dropping(VersionSerial serial);
  void look_after_all();

  // replicator_open.cpp
  void open(VersionSerial serial, bool wanted, OpenDone done);
  void forget_one_complete();
  void fetch_shape_of(VersionSerial serial);
  Result<std::shared_ptr<Content>> fetch_content(const catalog::Version& version);
  bool may_try_again(VersionSerial serial, const Error& error) const;
  void begin_arrival(const catalog::Version& version, std::shared_ptr<Content> content);
  void refuse(const catalog::Version& version, const Error& error);
  void finish_opening(VersionSerial serial, Result<std::shared_ptr<const OpenedVersion>> result);

  repository::Repository& repository_;
  GatedSource gate_;
  SpaceGate space_;
  RateLimit bandwidth_;
  TransferSpeeds speeds_;
  const Clock& clock_;
  const ReplicatorOptions options_;
  LiveOptions live_;
  Logger logger_;
  std::function<void()> observer_;
  std::function<void(VersionSerial)> lost_observer_;
  Executor demand_;
  Executor timers_;
  Executor shapes_;
  ArrivalContext context_;
  LocalVersions local_;
  FillScheduler fills_;

  std::mutex reload_mutex_;   // held while the catalog is read; taken before mutex_
  mutable std::mutex mutex_;  // guards what is below
  std::condition_variable_any changed_;
  std::shared_ptr<const VersionTable> table_;
  std::unordered_map<VersionSerial, catalog::Version> by_serial_;
  std::unordered_map<VersionSerial, std::shared_ptr<const OpenedVersion>> opened_;
  std::unordered_map<VersionSerial, Opening> opening_;
  // In opened_, but nobody sees it yet: its shape is not durable.
  std::unordered_set<VersionSerial> committing_;
  std::unordered_map<VersionSerial, Error> refused_;
  // Who wants to open one of these waits until it is dropped, or stays.
  std::unordered_map<VersionSerial, std::vector<OpenDone>> dropping_;
  SourceStatus source_status_;
  bool stopping_ = false;
  bool look_now_ = false;  // do not wait until the next comparison is due

  // Only the thread that follows touches these (start() before it runs).
  std::optional<source::KnownCatalog> known_catalog_;
  std::optional<Clock::TimePoint> unreachable_since_;
  std::unordered_map<VersionSerial, FillWatch> watches_;
  Clock::TimePoint looked_after_{};
  std::unordered_map<VersionSerial, Clock::TimePoint> tried_;  // when a wish failed

  std::jthread follower_;
};

}  // namespace icbd::replicator
