// What a machine says of its images and snapshots. Pure: an answer in, values out.
//
// Guarantees: nothing that is said is believed beyond what it can do to ourselves: names are
// bounded, printable in messages, and never paths; numbers are numbers. What does not fit is left
// out, and why is kept. An answer that was cut off is an error.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "icbd/base/error.h"
#include "icbd/base/types.h"
#include "icbd/base/uuid.h"

namespace icbd::pull {

// Of one answer, and of one image.
inline constexpr std::size_t images_max = 10'000;
inline constexpr std::size_t snapshots_max = 100'000;

// A read-only snapshot there.
struct Snapshot {
  std::string name;  // in the image's directory
  std::string path;  // from the machine's directory: "win11/2026-11-20", with snapper's "/snapshot"
  Uuid uuid;
  std::optional<Uuid> received_uuid;
  std::optional<Uuid> parent_uuid;        // of the subvolume that it is a snapshot of
  std::uint64_t created_transaction = 0;  // the filesystem's transaction in which it was made
  Timestamp created;                      // by the clock there, to the second

  // What a stream of it calls it (fs/btrfs/send.c, send_subvol_begin()).
  Uuid identity() const { return received_uuid.value_or(uuid); }
};

// What lies in one image's directory.
struct Listing {
  std::vector<Snapshot> snapshots;   // in the order in which they were made
  bool unfinished = false;           // some subvolume is writable: it may become a snapshot
  std::vector<std::string> skipped;  // what cannot be taken, and why
};

struct Images {
  std::uint64_t stream_version = 1;           // up to which it can send
  std::map<std::string, std::string> stamps;  // by image: changes when an entry comes or goes
  std::vector<std::string> skipped;           // directories that cannot be images, and why
};

Result<Images> parse_images(std::string_view answer);
Result<std::map<std::string, Listing>> parse_snapshots(std::string_view answer);

}  // namespace icbd::pull
