// The replicator: follows a source and brings its versions here.
//
// Purpose: keeps the catalog in step with the source, fetches shapes when somebody looks inside a
// version, fills versions in the background once somebody reads from them, lands them.
// Lifecycle: start() resumes arrivals that were under way and begins to follow the source;
// stop() ends everything with a checkpoint of each arrival. Both once.
// Guarantees: thread-safe. versions() and find() answer from memory. One version of a node is
// filled at a time, in the order in which they were first read (a later version then shares the
// chunks of an earlier one instead of fetching them twice); readers are never behind it.
// A version whose number comes back with other content is refused and reported; the old is kept.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>
#include <vector>

#include "icbd/applier/applier.h"
#include "icbd/replicator/arrival.h"

namespace icbd::replicator {

struct ReplicatorOptions {
  std::chrono::milliseconds fetch_timeout{20'000};
  std::chrono::milliseconds poll_interval{1'000};
  applier::Policy policy;
  unsigned demand_threads = 16;  // requests of waiting readers under way at the same time
};

// A consistent picture of what this node knows. Immutable.
struct VersionTable {
  std::vector<std::string> images;         // sorted
  std::vector<catalog::Version> versions;  // by image, then number
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
  std::string error;  // why it is not reachable
};

class Replicator {
 public:
  // Repository, source and clock must outlive it.
  Replicator(repository::Repository& repository, source::Source& source, const Clock& clock,
             ReplicatorOptions options, Logger logger);
  ~Replicator();

  // Asks the source once before it returns, so that what it has is known (or that it is away).
  Status start();
  void stop();

  std::shared_ptr<const VersionTable> versions() const;
  std::optional<catalog::Version> find(VersionSerial serial) const;
  // At once: null unless the version's shape is here.
  std::shared_ptr<const OpenedVersion> opened(VersionSerial serial);
  // The same after fetching the shape; retries for fetch_timeout while the source is away.
  using OpenDone = std::function<void(Result<std::shared_ptr<const OpenedVersion>>)>;
  void open(VersionSerial serial, OpenDone done);
  // Somebody has read from the version: fill it.
  void want(VersionSerial serial);

  std::vector<std::pair<catalog::Version, ArrivalProgress>> arriving() const;
  SourceStatus source_status() const;

 private:
  struct Opening {
    std::vector<OpenDone> waiting;
    Clock::TimePoint deadline;
  };

  Status resume_arrivals();
  Status reload_table();
  void forget_one_complete();
  void mark_arriving(VersionSerial serial);
  Status follow_once();
  void follow(std::stop_token stop);
  void add_remote(const catalog::VersionFacts& facts);
  void fetch_shape_of(VersionSerial serial);
  void finish_opening(VersionSerial serial, Result<std::shared_ptr<const OpenedVersion>> result);
  std::vector<catalog::Version> parent_candidates(const catalog::Version& version) const;
  void run_fills(std::stop_token stop);
  Status fill_and_land(const std::shared_ptr<Arrival>& arrival, std::stop_token stop);
  Result<std::vector<std::shared_ptr<const DigestIndex>>> indexes_for(const Arrival& arrival);

  repository::Repository& repository_;
  source::Source& source_;
  const Clock& clock_;
  ReplicatorOptions options_;
  Logger logger_;
  Executor demand_;
  Executor timers_;
  Executor shapes_;
  ArrivalContext context_;
  LocalVersions local_;

  mutable std::mutex mutex_;  // guards what is below
  std::condition_variable_any changed_;
  std::shared_ptr<const VersionTable> table_;
  std::unordered_map<VersionSerial, catalog::Version> by_serial_;
  std::unordered_map<VersionSerial, std::shared_ptr<const OpenedVersion>> opened_;
  std::unordered_map<VersionSerial, Opening> opening_;
  std::deque<VersionSerial> wanted_;  // to be filled, in this order
  SourceStatus source_status_;
  std::optional<std::uint64_t> change_number_;
  bool stopping_ = false;

  std::jthread follower_;
  std::jthread filler_;
};

}  // namespace icbd::replicator
