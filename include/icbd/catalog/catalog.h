// The catalog: what a node knows of images and versions that the filesystem cannot hold.
//
// Purpose: one SQLite database per repository (WAL, synchronous=FULL): images, versions with their
// states, tags and pins, subscriptions, the node's identity, and a change number that grows with
// everything that others see. Lifecycle: open() makes the file and applies migrations (PRAGMA
// user_version), each time after putting a copy of the old file beside it as FILE.schema-N. Every
// call is one transaction; when it returns, it is durable. While it is open, no other process can
// read or write the file. Guarantees: thread-safe (one connection behind a mutex; calls take about
// a millisecond, so not for the read path: keep what is read often in memory). Serials are never
// reused. A catalog of a newer schema is refused with words, not migrated down.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "icbd/base/digest.h"
#include "icbd/base/error.h"
#include "icbd/base/types.h"
#include "icbd/base/uuid.h"

namespace icbd::catalog {

// The states users see.
enum class VersionState {
  remote,    // only known
  arriving,  // being assembled
  complete,  // verified and committed
};
std::string_view to_string(VersionState state);

// What the root directory of a version looks like, so that the view never asks the network for it.
struct RootAttributes {
  std::uint32_t mode = 0755;  // permission bits
  std::uint32_t uid = 0, gid = 0;
  Timestamp modified;
  bool operator==(const RootAttributes&) const = default;
};

// What is the same on every node. `uuid` is the version's identity (received UUID on a cache).
struct VersionFacts {
  std::string image;
  VersionNumber number;
  Uuid uuid;
  Digest manifest;
  std::optional<VersionNumber> parent;  // the version it was published after
  std::string message;
  Timestamp published;
  RootAttributes root;
  std::uint32_t entries = 0;
  std::uint64_t file_bytes = 0;        // sum of sizes
  std::uint64_t data_bytes = 0;        // sum of chunks that are not zero
  std::uint64_t send_transaction = 0;  // ctransid on the master, for the received UUID
  // What clients boot from, as paths within the version; empty if nothing is marked. These arrive
  // before the rest.
  std::string boot_directory = {};
  std::string target_file = {};  // the disk that an iSCSI target exports
  bool operator==(const VersionFacts&) const = default;
};

// A person's reason to keep a version on this node.
struct Pin {
  std::string reason;
  Timestamp since;
  bool operator==(const Pin&) const = default;
};

// Another name of a version. The master gives them; caches repeat them.
struct Tag {
  std::string image;
  std::string name;  // "current" is what clients should boot, where it is given
  VersionNumber number;
  bool operator==(const Tag&) const = default;
};

// Which versions of an image a cache wants before anyone asks: the newest `latest` ones, or the
// one that has the tag. Of the two, one is set.
struct Subscription {
  std::string image;  // need not be known yet
  std::uint32_t latest = 0;
  std::string tag = {};
  std::string transfer = {};  // how its versions are to come; empty: as the cache is configured
  bool operator==(const Subscription&) const = default;
};

// A snapshot outside of the repository that was made a version where it is. Path and id are checked
// whenever it is opened.
struct AdoptedPlace {
  std::string path;  // absolute
  SubvolumeId subvolume;
  bool operator==(const AdoptedPlace&) const = default;
};

// A snapshot that is still to be adopted.
struct Adoption {
  std::uint64_t id = 0;   // never reused
  std::uint64_t job = 0;  // the same for all that were asked for together
  std::string image;
  AdoptedPlace place;
  Uuid uuid;  // that it has to have
};

// What this node holds of it.
struct Version {
  VersionSerial serial;
  VersionFacts facts;
  VersionState state = VersionState::remote;
  // Only while arriving: the staging subvolume exists and its shape is committed.
  bool shaped = false;
  std::optional<VersionSerial> shape_parent;
  std::optional<AdoptedPlace> place = std::nullopt;  // none: within the repository
  // Somebody asked for all of it (`icbd pull`); forgotten when it is complete.
  bool pulled = false;
  std::optional<Pin> pin = std::nullopt;
  // How often it has become remote again: then other inodes come to be called by the same numbers.
  std::uint64_t generation = 0;
};

struct NodeIdentity {
  Uuid uuid;  // of this repository, made with its first catalog
  // Of this catalog, made with it, and anew when it was rebuilt: says "this history of change
  // numbers". Change numbers of one epoch can be compared; with another epoch nothing that was
  // remembered of change numbers holds, and versions are compared by UUID and manifest. (A catalog
  // that comes back from a backup keeps its epoch: its change number goes backwards.)
  Uuid epoch;
};

// What a cache remembers of the master that it follows.
struct FollowedSource {
  Uuid repository;  // the master's NodeIdentity
  Uuid epoch;
  std::uint64_t change_number = 0;  // up to which its changes are in this catalog
  bool operator==(const FollowedSource&) const = default;
};

class Catalog {
 public:
  // corrupt if the database is damaged; invalid_argument if it is another application's;
  // unsupported if its schema is newer. Makes the file (mode 0600) if there is none.
  static Result<std::unique_ptr<Catalog>> open(const std::filesystem::path& file);
  ~Catalog();

  // An empty catalog in a new file, for one that got lost: of the repository that had it, in an
  // epoch of its own. already_exists if there is a file.
  static Result<std::unique_ptr<Catalog>> create(const std::filesystem::path& file,
                                                 const Uuid& repository);
  // What is wrong inside of the file, in words: SQLite's full integrity check, references, and what
  // this class keeps true. An error if it is not a catalog that this release can judge. Works on
  // the file itself, and may migrate it: hand in a copy.
  static Result<std::vector<std::string>> problems(const std::filesystem::path& file);

  // Called after every change that others can see, with the change number, on the thread that made
  // it; must not call the catalog. Set it before the catalog is shared.
  using Observer = std::function<void(std::uint64_t change_number)>;
  void set_observer(Observer observer);

  NodeIdentity identity() const;
  // Grows with every change that other nodes or the view can see.
  Result<std::uint64_t> change_number() const;

  Result<std::vector<std::string>> images() const;  // sorted by name
  // already_exists if the name is taken.
  Status add_image(const std::string& name);

  Result<std::vector<Version>> versions() const;  // by image, then number
  // None if the image is unknown.
  Result<std::vector<Version>> versions(const std::string& image) const;
  // These two: not_found.
  Result<Version> version(VersionSerial serial) const;
  Result<Version> version(const std::string& image, VersionNumber number) const;
  // 1, or one more than the highest number ever used for the image.
  Result<VersionNumber> next_number(const std::string& image) const;

  // Adds the image too if it is new. already_exists if image@number or the UUID is taken, by the
  // same content or by other; the message says which. Then nothing is changed.
  Result<VersionSerial> add_version(const VersionFacts& facts, VersionState state,
                                    const std::optional<AdoptedPlace>& place = {});
  // next_number() will be higher: the number was given to a version that is not in the catalog.
  // Adds the image if it is new.
  Status reserve_number(const std::string& image, VersionNumber number);
  // A change of state forgets the shape; setting the state it has changes nothing.
  Status set_state(VersionSerial serial, VersionState state);
  // A version that is not complete is arriving from now on, and its shape is committed; `parent` is
  // what it was applied to.
  Status begin_arrival(VersionSerial serial, std::optional<VersionSerial> parent);
  // Back to remote: nothing of it is here any more.
  Status clear_arrival(VersionSerial serial);

  // These two: not_found if there is no such version.
  Status set_pulled(VersionSerial serial, bool pulled);
  // None: no longer pinned. too_large if the reason is over limits::message_length.
  Status set_pin(VersionSerial serial, const std::optional<Pin>& pin);

  // The numbers of names in the view, in their order: below 2^31, given when a name is first asked
  // for, never given to another. Not a change that others see.
  Result<std::vector<std::uint32_t>> view_name_ids(std::span<const std::string> names);

  Result<std::vector<Tag>> tags() const;  // by image, then name
  // Moves the tag if another version has it. not_found if there is no such version.
  Status set_tag(const Tag& tag);
  Status remove_tag(const std::string& image, const std::string& name);  // not_found
  // Exactly these from now on; those of versions that are not known here are left out.
  Status replace_tags(const std::vector<Tag>& tags);

  Result<std::vector<Subscription>> subscriptions() const;  // by image
  // Replaces the one that the image has.
  Status set_subscription(const Subscription& subscription);
  Status remove_subscription(const std::string& image);  // not_found

  // Snapshots to be adopted, in the order in which they were added; what is done is removed.
  Result<std::vector<Adoption>> adoptions() const;
  // Their ids are given by the catalog; returns the job that they have in common.
  Result<std::uint64_t> add_adoptions(const std::vector<Adoption>& adoptions);
  Status remove_adoption(std::uint64_t id);

  // None until it was set: on a master, and on a cache that has not heard of its master yet.
  Result<std::optional<FollowedSource>> followed_source() const;
  // Replaces what was remembered. invalid_argument if a UUID is null.
  Status set_followed_source(const FollowedSource& source);

 private:
  struct Database;  // src/catalog/database.h
  explicit Catalog(std::unique_ptr<Database> database);
  std::unique_ptr<Database> database_;
};

}  // namespace icbd::catalog
