// Readers that know what every byte must be, and go on until they are told to stop.
//
// Lifecycle: each add_…() starts a thread; stop() or the destructor ends them all. What went wrong
// is remembered, and how long the longest step took. Files that are passed in outlive the readers.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "icbd/base/bytes.h"

namespace icbd::system_test {

// A file and what must be in it.
struct Known {
  std::filesystem::path path;
  Bytes content;
};

class Readers {
 public:
  // Whether what a step takes counts as a wait: that of another program is its own affair.
  enum class Timed { no, yes };

  Readers() = default;
  ~Readers() { stop(); }
  Readers(const Readers&) = delete;
  Readers& operator=(const Readers&) = delete;

  // `step` is done again and again; it throws a std::string for what is wrong.
  void add(std::string name, std::function<void(std::mt19937&)> step, Timed timed = Timed::yes);
  void stop();

  // Once they have been stopped.
  const std::vector<std::string>& errors() const { return errors_; }
  std::uint64_t operations() const { return operations_; }
  double worst_milliseconds() const;

 private:
  using Clock = std::chrono::steady_clock;
  void take_step(const std::string& name, const std::function<void()>& step, Timed timed);

  std::atomic<bool> stopped_ = false;
  std::atomic<std::uint64_t> operations_ = 0;
  std::mutex mutex_;
  std::vector<std::string> errors_;
  Clock::duration worst_{};
  std::vector<std::jthread> threads_;
};

// From one open descriptor, for as long as the test lasts. `flags` go to open(2): 0 or O_DIRECT.
void add_held_reader(Readers& readers, const Known& known, int flags);
// Opens, reads, closes.
void add_opening_reader(Readers& readers, const std::vector<Known>& files);
// Asks for attributes, and now and then for the listing around the file.
void add_looking_reader(Readers& readers, const std::vector<Known>& files);
// Maps the file, looks at some bytes, and lets go of it.
void add_mapping_reader(Readers& readers, const Known& known);

}  // namespace icbd::system_test
