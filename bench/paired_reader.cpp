// Reads the same thing on several paths in turns, and says how fast each was.
//
// The paths take short slices, in an order that changes, at the same offsets: what else happens on
// the machine happens to all of them. Prints JSON: for each path the seconds per operation of each
// round (the median of its slices, so that those in which others had the processor do not count),
// the processor seconds per operation of the reader and of the daemons behind the path, and how
// often these were asked (their read system calls).
//   paired_reader JOB [OPTIONS] NAME=PATH[,cold][,PID]...
// PATH is a file for random, sequential and mmap, a directory of files for stat, readdir and open.
// cold: pages of that path's own file are dropped before each slice. PID: daemons behind the path;
// the last one is who is asked.
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "icbd/base/error.h"
#include "icbd/base/unique_fd.h"

namespace icbd {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr unsigned operations_between_looks_at_the_clock = 16;
constexpr std::size_t small_block = 4096;

struct Options {
  std::string job;
  std::vector<std::string> targets;
  std::size_t block = small_block;
  bool direct = false;
  unsigned rounds = 7;
  unsigned slices = 25;
  double slice_seconds = 0.02;
  std::uint64_t seed = 1;
};

// SplitMix64: cheap enough to be no part of what is measured.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15U);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
  }

 private:
  std::uint64_t state_;
};

// Memory that O_DIRECT takes.
class Buffer {
 public:
  explicit Buffer(std::size_t size)
      : data_(static_cast<char*>(std::aligned_alloc(small_block, size)), &std::free) {}
  char* data() const { return data_.get(); }

 private:
  std::unique_ptr<char, decltype(&std::free)> data_;
};

// What is done over and over on one path.
class Work {
 public:
  virtual ~Work() = default;
  virtual Status begin_slice(std::uint64_t /*seed*/) { return {}; }
  virtual Status once() = 0;
};

class ReadFile : public Work {
 public:
  ReadFile(const Options& options, bool sequential)
      : block_(options.block), sequential_(sequential), buffer_(options.block) {}

  Status open(const std::string& path, bool direct, bool cold) {
    file_ = unique_fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | (direct ? O_DIRECT : 0)));
    if (!file_) return fail_errno("open " + path);
    struct stat attributes{};
    if (::fstat(file_.get(), &attributes) != 0) return fail_errno("fstat " + path);
    blocks_ = static_cast<std::uint64_t>(attributes.st_size) / block_;
    if (blocks_ == 0) return fail(ErrorCode::invalid_argument, path + " is smaller than a block");
    cold_ = cold;
    return {};
  }

  Status begin_slice(std::uint64_t seed) override {
    random_ = Random(seed);
    next_ = random_.next() % blocks_;
    if (cold_) ::posix_fadvise(file_.get(), 0, 0, POSIX_FADV_DONTNEED);
    return {};
  }

  Status once() override {
    const ssize_t got =
        ::pread(file_.get(), buffer_.data(), block_, static_cast<off_t>(next_ * block_));
    if (got < 0) return fail_errno("read");
    if (static_cast<std::size_t>(got) != block_)
      return fail(ErrorCode::io, "a read gave less than was asked for");
    next_ = (sequential_ ? next_ + 1 : random_.next()) % blocks_;
    return {};
  }

  const char* last_block() const { return buffer_.data(); }

 private:
  std::size_t block_;
  bool sequential_;
  Buffer buffer_;
  unique_fd file_;
  bool cold_ = false;
  std::uint64_t blocks_ = 0;
  std::uint64_t next_ = 0;
  Random random_{0};
};

// Mapped anew for each slice: the page faults are what is measured.
class MappedFile : public Work {
 public:
  explicit MappedFile(const Options& options) : block_(options.block), buffer_(options.block) {}
  ~MappedFile() override { unmap(); }

  Status open(const std::string& path) {
    file_ = unique_fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file_) return fail_errno("open " + path);
    struct stat attributes{};
    if (::fstat(file_.get(), &attributes) != 0) return fail_errno("fstat " + path);
    size_ = static_cast<std::size_t>(attributes.st_size);
    return {};
  }

  Status begin_slice(std::uint64_t seed) override {
    unmap();
    random_ = Random(seed);
    void* const memory = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, file_.get(), 0);
    if (memory == MAP_FAILED) return fail_errno("mmap");
    memory_ = static_cast<const char*>(memory);
    return {};
  }

  Status once() override {
    const std::uint64_t place = random_.next() % (size_ / block_) * block_;
    std::memcpy(buffer_.data(), memory_ + place, block_);
    return {};
  }

 private:
  void unmap() {
    if (memory_ != nullptr) ::munmap(const_cast<char*>(memory_), size_);
    memory_ = nullptr;
  }

  std::size_t block_;
  Buffer buffer_;
  unique_fd file_;
  std::size_t size_ = 0;
  const char* memory_ = nullptr;
  Random random_{0};
};

class DirectoryOfFiles : public Work {
 public:
  Status open(const std::string& path) {
    directory_ = unique_fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory_) return fail_errno("open " + path);
    ICBD_TRY(list([this](const dirent& entry) {
      if (entry.d_type == DT_REG) names_.emplace_back(entry.d_name);
    }));
    if (names_.empty()) return fail(ErrorCode::not_found, path + " has no files");
    std::ranges::sort(names_);  // the same order on each path
    return {};
  }

 protected:
  int descriptor() const { return directory_.get(); }
  const char* next_name() { return names_[next_++ % names_.size()].c_str(); }

  template <typename Take>
  Status list(const Take& take) const {
    const int opened = ::openat(directory_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR* const stream = opened < 0 ? nullptr : ::fdopendir(opened);
    if (stream == nullptr) return fail_errno("open a directory");
    while (const dirent* entry = ::readdir(stream)) take(*entry);
    ::closedir(stream);
    return {};
  }

 private:
  unique_fd directory_;
  std::vector<std::string> names_;
  std::size_t next_ = 0;
};

class StatFiles : public DirectoryOfFiles {
 public:
  Status once() override {
    struct stat attributes{};
    if (::fstatat(descriptor(), next_name(), &attributes, 0) != 0) return fail_errno("stat");
    return {};
  }
};

class ListDirectory : public DirectoryOfFiles {
 public:
  Status once() override {
    std::size_t entries = 0;
    ICBD_TRY(list([&](const dirent&) { ++entries; }));
    if (entries < 3) return fail(ErrorCode::io, "a listing was empty");
    return {};
  }
};

class OpenFiles : public DirectoryOfFiles {
 public:
  Status once() override {
    const unique_fd file(::openat(descriptor(), next_name(), O_RDONLY | O_CLOEXEC));
    if (!file) return fail_errno("open");
    if (::pread(file.get(), buffer_.data(), small_block, 0) < 0) return fail_errno("read");
    return {};
  }

 private:
  Buffer buffer_{small_block};
};

// ---- what is measured ----------------------------------------------------------------------

struct Usage {
  double reader = 0;   // processor seconds
  double daemons = 0;  // the same
  std::uint64_t asked = 0;
};

struct Target {
  std::string name;
  std::string path;
  bool cold = false;
  std::vector<pid_t> daemons;
  std::unique_ptr<Work> work;
  // Of all rounds.
  Usage used;
  std::uint64_t operations = 0;
  std::vector<double> seconds_per_operation;  // of each round
};

double in_seconds(const timespec& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

double processor_seconds(clockid_t clock) {
  timespec time{};
  return ::clock_gettime(clock, &time) == 0 ? in_seconds(time) : 0.0;
}

// Read system calls that the process has made.
std::uint64_t read_calls(pid_t process) {
  std::ifstream file(fmt::format("/proc/{}/io", process));
  std::string word;
  std::uint64_t value = 0;
  while (file >> word >> value)
    if (word == "syscr:") return value;
  return 0;
}

Usage usage_of(const Target& target) {
  Usage usage;
  usage.reader = processor_seconds(CLOCK_PROCESS_CPUTIME_ID);
  for (const pid_t process : target.daemons) {
    clockid_t clock{};
    if (::clock_getcpuclockid(process, &clock) == 0) usage.daemons += processor_seconds(clock);
  }
  if (!target.daemons.empty()) usage.asked = read_calls(target.daemons.back());
  return usage;
}

// Returns the seconds per operation.
Result<double> measure_slice(Target& target, double seconds, std::uint64_t seed) {
  ICBD_TRY(target.work->begin_slice(seed));
  const Usage before = usage_of(target);
  std::uint64_t operations = 0;
  double elapsed = 0;
  const auto begin = Clock::now();
  while (elapsed < seconds) {
    for (unsigned i = 0; i < operations_between_looks_at_the_clock; ++i)
      ICBD_TRY(target.work->once());
    operations += operations_between_looks_at_the_clock;
    elapsed = Seconds(Clock::now() - begin).count();
  }
  const Usage after = usage_of(target);
  target.used.reader += after.reader - before.reader;
  target.used.daemons += after.daemons - before.daemons;
  target.used.asked += after.asked - before.asked;
  target.operations += operations;
  return elapsed / static_cast<double>(operations);
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

Status measure_round(std::vector<Target>& targets, const Options& options, unsigned round) {
  std::vector<std::vector<double>> seconds(targets.size());
  for (unsigned i = 0; i < options.slices; ++i) {
    const std::uint64_t seed = options.seed + round * options.slices + i;
    for (std::size_t turn = 0; turn < targets.size(); ++turn) {
      const std::size_t chosen = (turn + round + i) % targets.size();
      ICBD_ASSIGN(const double slice, measure_slice(targets[chosen], options.slice_seconds, seed));
      seconds[chosen].push_back(slice);
    }
  }
  for (std::size_t i = 0; i < targets.size(); ++i)
    targets[i].seconds_per_operation.push_back(median(seconds[i]));
  return {};
}

// ---- the beginning and the end --------------------------------------------------------------

Result<Target> parse_target(const std::string& text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos)
    return fail(ErrorCode::invalid_argument, text + " is not NAME=PATH");
  Target target;
  target.name = text.substr(0, equals);
  std::vector<std::string> words = CLI::detail::split(text.substr(equals + 1), ',');
  target.path = words.front();
  for (std::size_t i = 1; i < words.size(); ++i) {
    if (words[i] == "cold")
      target.cold = true;
    else
      target.daemons.push_back(std::stoi(words[i]));
  }
  return target;
}

template <typename Kind, typename... Arguments>
Result<std::unique_ptr<Work>> opened(std::unique_ptr<Kind> work, const Arguments&... arguments) {
  ICBD_TRY(work->open(arguments...));
  return work;
}

Result<std::unique_ptr<Work>> work_for(const Target& target, const Options& options) {
  if (options.job == "stat") return opened(std::make_unique<StatFiles>(), target.path);
  if (options.job == "readdir") return opened(std::make_unique<ListDirectory>(), target.path);
  if (options.job == "open") return opened(std::make_unique<OpenFiles>(), target.path);
  if (options.job == "mmap") return opened(std::make_unique<MappedFile>(options), target.path);
  return opened(std::make_unique<ReadFile>(options, options.job == "sequential"), target.path,
                options.direct, target.cold);
}

// A fast reader of wrong bytes is no reader.
Status check_equal(const std::vector<Target>& targets, const Options& options) {
  constexpr unsigned blocks = 64;
  std::vector<ReadFile> readers;
  for (const Target& target : targets) {
    ReadFile& reader = readers.emplace_back(options, false);
    ICBD_TRY(reader.open(target.path, options.direct, false));
    ICBD_TRY(reader.begin_slice(options.seed));
  }
  for (unsigned i = 0; i < blocks; ++i)
    for (std::size_t j = 0; j < targets.size(); ++j) {
      ICBD_TRY(readers[j].once());
      if (std::memcmp(readers[0].last_block(), readers[j].last_block(), options.block) != 0)
        return fail(ErrorCode::corrupt,
                    fmt::format("{} reads other bytes than {}", targets[j].path, targets[0].path));
    }
  return {};
}

nlohmann::json as_json(const std::vector<Target>& targets) {
  nlohmann::json all;
  for (const Target& target : targets) {
    const auto operations = static_cast<double>(target.operations);
    all[target.name] = {{"seconds", target.seconds_per_operation},
                        {"reader", target.used.reader / operations},
                        {"daemons", target.used.daemons / operations},
                        {"operations", target.operations},
                        {"asked", target.used.asked}};
  }
  return all;
}

Status run(const Options& options) {
  std::vector<Target> targets;
  for (const std::string& text : options.targets) {
    ICBD_ASSIGN(Target target, parse_target(text));
    ICBD_ASSIGN(target.work, work_for(target, options));
    targets.push_back(std::move(target));
  }
  if (options.job == "random" || options.job == "sequential")
    ICBD_TRY(check_equal(targets, options));
  ICBD_TRY(measure_round(targets, options, 0));  // warms up
  for (Target& target : targets) {
    target.used = {};
    target.operations = 0;
    target.seconds_per_operation.clear();
  }
  for (unsigned round = 0; round < options.rounds; ++round)
    ICBD_TRY(measure_round(targets, options, round));
  std::cout << as_json(targets).dump(1) << '\n';
  return {};
}

}  // namespace
}  // namespace icbd

int main(int count, char** arguments) {
  icbd::Options options;
  CLI::App app("Reads the same thing on several paths in turns.", "paired_reader");
  app.add_option("job", options.job)
      ->required()
      ->check(CLI::IsMember({"random", "sequential", "mmap", "stat", "readdir", "open"}));
  app.add_option("targets", options.targets, "NAME=PATH[,cold][,PID]...")->required();
  app.add_option("--block", options.block, "Bytes of one read")->check(CLI::PositiveNumber);
  app.add_flag("--direct", options.direct, "Open with O_DIRECT");
  app.add_option("--rounds", options.rounds)->check(CLI::PositiveNumber);
  app.add_option("--slices", options.slices, "Turns of each path in a round")
      ->check(CLI::PositiveNumber);
  app.add_option("--slice-seconds", options.slice_seconds)->check(CLI::PositiveNumber);
  app.add_option("--seed", options.seed);
  CLI11_PARSE(app, count, arguments);
  const icbd::Status status = icbd::run(options);
  if (status) return 0;
  fmt::print(stderr, "paired_reader: {}\n", status.error().message());
  return 1;
}
