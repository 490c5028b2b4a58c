// Changes a tree of files at random, the same way for the same seed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "icbd/base/error.h"

namespace icbd::harness {

// Purpose: what live subvolumes go through between two versions: writes, holes, truncates,
// renames over others, directories that take each other's places, reflinks, hard links, xattrs.
// Needs a filesystem with reflinks. Print seed() when a test fails.
class RandomTree {
 public:
  RandomTree(std::filesystem::path root, std::uint64_t seed);

  std::uint64_t seed() const { return seed_; }
  // Makes `count` random changes.
  Status change(int count);
  // What was done so far, one line per change: for the message of a failed test.
  const std::vector<std::string>& history() const { return history_; }

 private:
  Status change_once();
  Status make_file();
  Status make_directory();
  Status make_special();
  Status make_link();
  Status write_some();
  Status resize();
  Status punch();
  Status reflink();
  Status move();
  Status exchange();
  Status remove();
  Status change_metadata();

  std::uint64_t below(std::uint64_t bound);
  std::string new_path();
  // A random path of the kind; "" if there is none.
  std::string any_file();
  std::string any_directory();
  std::string any_name();
  Status done(const std::string& what);

  std::filesystem::path root_;
  std::uint64_t seed_;
  std::mt19937_64 random_;
  std::uint64_t names_ = 0;
  std::vector<std::string> history_;
};

// A new seed, or the one in $ICBD_TEST_SEED, for repeating a failed test.
std::uint64_t test_seed();

}  // namespace icbd::harness
