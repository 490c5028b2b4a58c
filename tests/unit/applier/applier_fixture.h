// A BTRFS with subvolumes to send from and to apply to.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "icbd/applier/applier.h"
#include "icbd/base/bytes.h"
#include "icbd/base/unique_fd.h"
#include "icbd/base/uuid.h"
#include "icbd/sendstream/command.h"

#include "harness/loop_btrfs.h"
#include "harness/tree.h"

namespace icbd::applier {

// Versions by their UUID.
class KnownVersions : public CloneSources {
 public:
  Status add(const std::filesystem::path& subvolume);
  Result<int> root_of(const Uuid& uuid) override;

 private:
  std::map<Uuid, unique_fd> roots_;
};

class ApplierTest : public harness::BtrfsTest {
 protected:
  harness::LoopBtrfsOptions btrfs_options() const override { return {.size_bytes = 1u << 30}; }

  // Runs a shell script in the filesystem's root directory.
  void shell(const std::string& script);
  void make_subvolume(const std::string& name);
  // A read-only snapshot that streams may clone from.
  void publish(const std::string& source, const std::string& name);
  // A writable snapshot to apply an incremental stream to.
  void stage(const std::string& parent, const std::string& name);
  // What `btrfs send` with these arguments writes.
  Bytes send(const std::string& arguments);

  unique_fd open_root(const std::string& name);
  Applier make_applier(const unique_fd& root, Options options = {.policy = {}, .hold_back = false});
  Status apply_stream(ByteView stream, const std::string& name,
                      Options options = {.policy = {}, .hold_back = false});
  // Begins a stream in an empty subvolume.
  Status apply_all(Applier& applier, const std::vector<sendstream::Command>& commands);

  std::string difference(const std::string& expected, const std::string& actual);

  KnownVersions known_;
};

}  // namespace icbd::applier
