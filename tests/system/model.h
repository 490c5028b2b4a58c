// What every byte of every version must be, known without asking any of the programs.
//
// LiveImage makes and changes the files of a live subvolume; each block of 4 KiB is a function of
// (seed, file, block, generation), and only the generations are remembered. Model remembers them
// for each version that was published. CheckedReaders compare what they get with it.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "icbd/base/bytes.h"
#include "icbd/base/error.h"

namespace icbd::system_test {

inline constexpr std::size_t model_block_size = 4096;

// A file's content: block i is zeros if generations[i] is 0, else a function of it.
struct ModelFile {
  std::uint64_t seed = 0;
  std::uint64_t size = 0;
  std::vector<std::uint32_t> generations;

  Bytes expected(std::uint64_t offset, std::uint64_t length) const;
};
using ModelTree = std::map<std::string, ModelFile>;  // by relative path

// Not thread-safe.
class LiveImage {
 public:
  // In an existing directory. The same seed gives the same content.
  LiveImage(std::filesystem::path root, std::uint64_t seed) : root_(std::move(root)), seed_(seed) {}

  // Writes the whole file anew, every block with data.
  Status fill(const std::string& name, std::uint64_t size);
  // Rewrites `blocks` random blocks of a file, each run up to 64 blocks long.
  Status scribble(const std::string& name, std::size_t blocks);
  // Truncates or extends with zeros.
  Status resize(const std::string& name, std::uint64_t size);
  Status remove(const std::string& name);
  // Some changes of all these kinds: what happens between two versions.
  Status change();

  const ModelTree& tree() const { return tree_; }

 private:
  Status write(const std::string& name, std::size_t first_block, std::size_t blocks);
  std::uint64_t below(std::uint64_t bound);

  std::filesystem::path root_;
  std::uint64_t seed_;
  std::mt19937_64 random_{seed_};
  std::uint32_t generation_ = 0;
  std::uint64_t files_made_ = 0;
  ModelTree tree_;
};

// Thread-safe. One image; versions by number.
class Model {
 public:
  void add(int number, ModelTree tree);
  std::shared_ptr<const ModelTree> version(int number) const;  // nullptr: not known
  std::vector<int> numbers() const;

  // "" if the regular files below the directory are exactly the version's, else what differs.
  std::string check(int number, const std::filesystem::path& directory) const;

 private:
  mutable std::mutex mutex_;
  std::map<int, std::shared_ptr<const ModelTree>> versions_;
};

// Threads that read random ranges of random versions below `image` (a directory with numbers in
// it) until they are stopped. An error is an answer; wrong bytes, a wrong size or a short read
// are not.
class CheckedReaders {
 public:
  CheckedReaders(const Model& model, std::filesystem::path image, std::uint64_t seed,
                 unsigned threads = 2);
  ~CheckedReaders();

  void stop();
  std::uint64_t right() const { return right_; }
  std::uint64_t errors() const { return errors_; }
  // "" or the first wrong answers, for EXPECT_EQ(readers.wrong(), "").
  std::string wrong() const;

 private:
  void read_on(std::stop_token stop, std::uint64_t seed);
  Status read_once(int number, std::mt19937_64& random);

  const Model& model_;
  const std::filesystem::path image_;
  std::atomic<std::uint64_t> right_ = 0, errors_ = 0;
  mutable std::mutex mutex_;
  std::string wrong_;
  std::vector<std::jthread> threads_;
};

}  // namespace icbd::system_test
