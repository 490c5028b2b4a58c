// The puller: brings snapshots of a machine that runs no icbd here, as versions.
//
// Purpose: there is a directory on that machine with one directory for each image, and in each of
// them read-only snapshots, as btrbk, snapper and people make them. What subscriptions want of them
// is sent by `btrfs send` over ssh, against what is here already, and becomes a version when all of
// it is here and durable: nobody has a manifest to verify its parts by. Its manifest is computed
// here. What vouches for the first copy is ssh's host key and the checksum of each command.
// Lifecycle: start(), once; stop(), or the destructor, ends what is under way: what a snapshot has
// sent so far is deleted, and sent again from its beginning.
// Guarantees: thread-safe. Of one image one snapshot comes at a time, the oldest of the wanted ones
// first; of two images at once. A snapshot that is older than the newest one that is here is not
// taken any more: its number would lie. What is deleted there stays here. What fails is tried again
// by itself; what a policy or a limit forbids, after an hour.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "icbd/applier/applier.h"
#include "icbd/base/clock.h"
#include "icbd/base/log.h"
#include "icbd/pull/machine.h"
#include "icbd/repository/repository.h"

namespace icbd::pull {

// What is said wherever somebody might take a first copy for verified.
inline constexpr std::string_view trust =
    "the host key of ssh: what comes is not compared with a manifest of the source";

struct PullerOptions {
  Machine machine;
  applier::Policy policy = {};
  std::chrono::milliseconds poll_interval{60'000};  // between two looks at what is there
  std::uint64_t bandwidth_limit = 0;                // bytes a second; 0: none
  std::uint64_t space_reserve = 0;                  // bytes that stay unallocated; 0: by size
};

// What is there of an image that is subscribed or pulled.
struct ImageStatus {
  std::string image;
  std::size_t snapshots = 0;              // read-only ones
  std::string newest;                     // its name; "" if there is none
  Timestamp newest_created;               // by the clock there
  std::size_t behind = 0;                 // newer than what is here
  std::optional<Timestamp> behind_since;  // when the oldest of these was made
  std::size_t wanted = 0;                 // of these and of versions that were dropped
  std::vector<VersionNumber> gone;        // here, and not there any more
  std::vector<std::string> skipped;       // what cannot be taken, and why
};

enum class PullPhase : std::uint8_t { receiving, hashing };
std::string_view to_string(PullPhase phase);

struct PullStatus {
  std::string image;
  std::string snapshot;
  VersionNumber number;  // that it will have
  std::string parent;    // the snapshot against which it comes; "" if all of it does
  PullPhase phase = PullPhase::receiving;
  std::uint64_t bytes_received = 0;
  std::chrono::milliseconds elapsed{0};
  std::chrono::milliseconds silence{0};  // since the last byte
};

// A snapshot that could not be brought here.
struct FailedPull {
  std::string image;
  std::string snapshot;
  std::string error;
  unsigned attempts = 0;
  bool refused = false;  // trying again soon would not help
};

struct PullerStatus {
  bool reachable = false;
  std::string error;                      // why it is not
  std::optional<Timestamp> last_contact;  // when what is there was last seen
  std::vector<std::string> images;        // all that are there, sorted
  std::vector<std::string> skipped;       // directories there that are no images, and why
  std::vector<ImageStatus> followed;      // by image
  std::vector<PullStatus> pulls;          // under way, by image
  std::vector<FailedPull> failed;
  std::uint64_t bytes_received = 0;  // of streams, since the start
};

class Puller {
 public:
  // Repository and clock must outlive it. `changed` is called after the catalog has changed, on a
  // thread of the puller's; it must not call back.
  Puller(repository::Repository& repository, const Clock& clock, PullerOptions options,
         Logger logger, std::function<void()> changed);
  ~Puller();
  Puller(const Puller&) = delete;
  Puller& operator=(const Puller&) = delete;

  void start();
  void stop();
  // Somebody has changed what is wanted.
  void look_now();
  // From now on: interval, bandwidth and reserve of these; the others stay.
  void reconfigure(const PullerOptions& options);

  PullerStatus status() const;
  // Of one image; nothing if it is not there, or was not looked at yet.
  std::optional<ImageStatus> image(const std::string& name) const;
  // What keeps a version that was dropped from coming again, as far as is known; "" if nothing.
  std::string obstacle(const catalog::Version& version) const;
  // Which versions a pull under way needs here.
  bool needs(VersionSerial serial) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace icbd::pull
