// A disk that remembers every write and flush, for cutting its power afterwards at any moment.
//
// Purpose: a file of a FUSE filesystem, to be put under a loop device. What the disk would hold if
// the power had gone at some moment is made from the log: all writes before the last flush, and
// any of the writes since, in units of 4 KiB.
// Lifecycle: create() mounts; unmount what lies on the disk before it is destroyed. Needs root.
// Guarantees: thread-safe. Served by a thread of its own that touches no filesystem but that of the
// temporary folder.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>

#include "icbd/base/error.h"

namespace icbd::harness {

class LoggedDisk {
 public:
  static Result<std::unique_ptr<LoggedDisk>> create(std::uint64_t size);
  ~LoggedDisk();
  LoggedDisk(const LoggedDisk&) = delete;
  LoggedDisk& operator=(const LoggedDisk&) = delete;

  // The disk as a file.
  const std::filesystem::path& file() const;
  // How many writes and flushes there were so far: the name of this moment.
  std::size_t moment() const;

 private:
  friend class PowerCut;
  struct State;
  explicit LoggedDisk(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Makes images of what a disk held after a power cut. Cheapest with ascending moments.
// Not thread-safe; the disk must outlive it.
class PowerCut {
 public:
  // `folder` gets the images.
  PowerCut(const LoggedDisk& disk, std::filesystem::path folder);

  // The image of a cut at `moment`. Of what was written since the last flush, everything has
  // arrived, or, with a seed, a random half of the blocks.
  Result<std::filesystem::path> image_at(std::size_t moment,
                                         std::optional<std::uint64_t> seed = std::nullopt);

 private:
  Status advance(std::size_t end);

  const LoggedDisk& disk_;
  std::filesystem::path folder_;
  std::size_t flushed_ = 0;  // the base image holds all records before it
};

}  // namespace icbd::harness
