// The kernel's side of open files, with its rules (fs/fuse/iomode.c, backing.c): what it would
// refuse is a failure of the test.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <optional>
#include <set>

#include "open_nodes.h"

namespace icbd::fs {

// The process is killed here.
struct Killed {};

class FakeKernel final : public BackingFiles {
 public:
  // ---- what OpenNodes asks for
  bool available() const override { return passthrough; }
  Result<std::uint32_t> add(int) override {
    maybe_kill();
    if (refuse) return fail_errno("add", ENFILE);
    const std::uint32_t id = ++last_id_;  // never given twice, as idr_alloc_cyclic
    backings_.insert(id);
    maybe_kill();
    return id;
  }
  void remove(std::uint32_t id) override {
    maybe_kill();
    EXPECT_EQ(backings_.erase(id), 1u) << "the kernel has no backing file " << id;
    maybe_kill();
  }
  bool remove_if_there(std::uint32_t id) override {
    maybe_kill();
    const bool there = backings_.erase(id) != 0;
    maybe_kill();
    return there;
  }

  // ---- what comes of its answers
  // OPEN was answered.
  void opened(std::uint64_t node, const OpenNodes::Opened& opened) {
    Mode& mode = modes_[node];
    if (opened.backing) {
      EXPECT_TRUE(backings_.contains(*opened.backing))
          << "EIO: no backing file " << *opened.backing;
      EXPECT_EQ(mode.served, 0) << "ETXTBSY: passthrough while it is served";
      EXPECT_TRUE(mode.passthrough == 0 || mode.backing == *opened.backing)
          << "EBUSY: another backing file";
      mode.backing = *opened.backing;
      ++mode.passthrough;
    } else {
      EXPECT_EQ(mode.passthrough, 0) << "EINVAL: served while it is passthrough";
      ++mode.served;
    }
    EXPECT_TRUE(files_.try_emplace(opened.handle, File{node, opened.backing.has_value()}).second)
        << "two open files have the handle " << opened.handle;
  }
  // The mode is left before RELEASE is sent.
  void closed(std::uint64_t handle) {
    const File file = files_.at(handle);
    files_.erase(handle);
    Mode& mode = modes_.at(file.node);
    --(file.passthrough ? mode.passthrough : mode.served);
  }

  struct File {
    std::uint64_t node = 0;
    bool passthrough = false;
  };
  const std::map<std::uint64_t, File>& files() const { return files_; }
  const std::set<std::uint32_t>& backings() const { return backings_; }

  bool passthrough = true;
  bool refuse = false;
  // The process is killed at the so-manieth moment from now: before or after something is done.
  std::optional<unsigned> kill_in;

 private:
  struct Mode {
    int served = 0, passthrough = 0;
    std::uint32_t backing = 0;
  };

  void maybe_kill() {
    if (!kill_in || (*kill_in)-- != 0) return;
    kill_in.reset();
    throw Killed();
  }

  std::set<std::uint32_t> backings_;
  std::uint32_t last_id_ = 0;
  std::map<std::uint64_t, Mode> modes_;
  std::map<std::uint64_t, File> files_;  // by handle
};

// A file that is all here, or not.
class FakeFile final : public OpenFile {
 public:
  explicit FakeFile(bool whole) : whole_(whole) {}
  int descriptor_if_whole() const override { return whole_ ? 0 : -1; }
  bool is_local(ByteRange) const override { return whole_; }
  Result<std::size_t> read_local(std::span<std::byte>, std::uint64_t) override { return 0; }
  void read(ByteRange, ReadDone done) override { done(Bytes()); }
  Result<std::uint64_t> seek(std::uint64_t, int) override { return 0; }

 private:
  bool whole_;
};

}  // namespace icbd::fs
