// Publishing: a subvolume, a directory or a disk image becomes the next version of an image.
//
// Order: writable snapshot (of a subvolume: itself; else of the version before, which is then made
// what is published, changing no more than differs) -> boot files and target checked or copied in
// -> read-only -> manifest (hashing only what the kernel's metadata-only send says has changed
// since the previous version) -> sync -> catalog commit -> rename -> tags. The snapshot is writable
// first because a snapshot of a received read-only subvolume keeps its received UUID, and two
// versions would share one identity. A failure at any point leaves nothing behind but a hidden
// subvolume that is removed at once or at the next start. What is published is not changed.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "icbd/repository/repository.h"

namespace icbd::repository {

struct PublishRequest {
  std::string image;  // made if it is new
  // Absolute: a subvolume on the repository's filesystem, a directory on any, or a disk image.
  std::filesystem::path path;
  std::string message;
  std::vector<std::string> tags = {};
  // What clients boot from: a relative path is inside of what is published, an absolute one may be
  // elsewhere and is copied in. None: as in the version before; empty: nothing.
  std::optional<std::filesystem::path> boot = {};    // a directory
  std::optional<std::filesystem::path> target = {};  // the disk that an iSCSI target exports
  std::string format = {};     // of a disk image ("raw", "qcow2", …); empty: name and content say
  std::string disk_name = {};  // what a disk image is called in the version; empty: disk.raw
  bool checksum = false;  // compare also files whose size and mtime are those of the version before
  bool allow_changing = false;  // take files that change meanwhile as they are read, with a warning
};

enum class PublishPhase { preparing, copying, converting, hashing };
std::string_view to_string(PublishPhase phase);

// Counts while publishing; read by others.
struct PublishProgress {
  std::atomic<PublishPhase> phase = PublishPhase::preparing;
  std::atomic<std::uint64_t> bytes_total = 0;  // of this phase; 0 until it is known
  std::atomic<std::uint64_t> bytes_done = 0;
  std::atomic<bool> cancelled = false;  // set by whoever does not want it any more
};

struct PublishReport {
  catalog::Version version;
  std::uint64_t bytes_hashed = 0;     // read and hashed now
  std::uint64_t bytes_inherited = 0;  // taken over from the previous version's manifest
  std::vector<std::string> warnings;  // for example a nested subvolume, which a snapshot leaves out
  std::string kind = {};              // "subvolume", "directory", or the format of a disk image
  std::vector<std::string> notes = {};  // what was decided without being asked for
};

// One at a time per repository (busy otherwise). `busy` also if what is published is open in a
// virtual machine, or changes while it is read; `cancelled` leaves nothing behind.
Result<PublishReport> publish(Repository& repository, const PublishRequest& request,
                              PublishProgress& progress);

// What publish() would do.
struct PublishPlan {
  std::string kind;
  VersionNumber number;
  std::optional<VersionNumber> parent;
  std::uint64_t disk_bytes = 0;             // of a disk image: of the disk that a guest sees
  std::string boot_directory, target_file;  // what would be marked
  std::uint64_t bytes_to_read = 0;          // about
  std::vector<std::string> warnings, notes;
};
// Changes nothing. Refuses most of what publish() refuses.
Result<PublishPlan> plan_publication(Repository& repository, const PublishRequest& request);

}  // namespace icbd::repository
