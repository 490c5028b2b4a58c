// A real BTRFS for tests: in a sparse file, behind a loop device, mounted.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "icbd/base/error.h"

#include "harness/temporary_directory.h"

namespace icbd::harness {

struct LoopBtrfsOptions {
  std::uint64_t size_bytes = std::uint64_t{4} << 30;  // sparse: costs what is written
  std::vector<std::string> mkfs_options = {};         // for example {"--nodesize", "4096"}
  std::string mount_options = {};                     // for example "compress=zstd"
};

// Lifecycle: create() makes image, loop device and mount; the destructor takes all of them down,
// also after a failed test. If somebody still uses the mount, it is detached lazily: the kernel
// frees the loop device by itself when the last user is gone. Nobody is killed.
class LoopBtrfs {
 public:
  // Needs root.
  static Result<std::unique_ptr<LoopBtrfs>> create(LoopBtrfsOptions options = {});
  // Mounts what an existing file holds; the file stays. Of the options, only those of the mount
  // count.
  static Result<std::unique_ptr<LoopBtrfs>> open(std::filesystem::path image,
                                                 LoopBtrfsOptions options = {});
  ~LoopBtrfs();
  LoopBtrfs(const LoopBtrfs&) = delete;
  LoopBtrfs& operator=(const LoopBtrfs&) = delete;

  // Where it is mounted.
  const std::filesystem::path& path() const { return mountpoint_; }
  // The file behind it.
  const std::filesystem::path& image_path() const { return image_; }

  // As the destructor, but an error if somebody still uses it.
  Status close();
  // Unmounts and mounts again, so that nothing is cached; busy while a file is open.
  Status remount();

 private:
  LoopBtrfs(TemporaryDirectory folder, LoopBtrfsOptions options);
  Status make();
  Status mount();
  void unmount() noexcept;

  TemporaryDirectory folder_;
  LoopBtrfsOptions options_;
  std::filesystem::path image_;
  std::filesystem::path mountpoint_;
  bool mounted_ = false;
};

// True if this process may use loop devices and mounts.
bool is_root();

// Base of test fixtures that need one BTRFS. Skips without root.
class BtrfsTest : public testing::Test {
 protected:
  void SetUp() override;
  virtual LoopBtrfsOptions btrfs_options() const { return {}; }
  const std::filesystem::path& path() const { return btrfs_->path(); }

  std::unique_ptr<LoopBtrfs> btrfs_;
};

}  // namespace icbd::harness

// For SetUp() and test bodies that need root.
#define ICBD_SKIP_UNLESS_ROOT() \
  if (!::icbd::harness::is_root()) GTEST_SKIP() << "needs root for loop devices and mounts"
