// The worker dies, hangs and is replaced under readers that know what every byte must be: they see
// a delay at most. The randomized ones print their seed; ICBD_LONG=1 runs all of them.

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <random>
#include <thread>

#include "icbd/base/digest.h"
#include "icbd/base/file.h"

#include "system/long_run.h"
#include "system/site.h"

namespace icbd::system_test {
namespace {

using namespace std::chrono_literals;
using SteadyClock = std::chrono::steady_clock;

const std::string image = "image";
constexpr std::size_t disk_size = 24 * 1024 * 1024;

// The process that serves: the holder's only child. 0 if there is none at the moment.
pid_t worker_of(pid_t holder) {
  std::ifstream children(fmt::format("/proc/{0}/task/{0}/children", holder));
  pid_t worker = 0;
  children >> worker;
  return worker;
}

// Readers that go on until they are stopped, and remember what went wrong and how long they waited.
class Readers {
 public:
  ~Readers() { stop(); }

  // `read` throws a std::string for what is wrong.
  void add(std::string name, std::function<void(std::mt19937&)> read) {
    const auto seed = static_cast<unsigned>(threads_.size() + 1);
    threads_.emplace_back([this, name = std::move(name), read = std::move(read), seed] {
      std::mt19937 random(seed);
      while (!stopped_) {
        const auto begun = SteadyClock::now();
        try {
          read(random);
        } catch (const std::string& what) {
          const std::lock_guard lock(mutex_);
          if (errors_.size() < 20) errors_.push_back(name + ": " + what);
        }
        const auto took = SteadyClock::now() - begun;
        ++operations_;
        const std::lock_guard lock(mutex_);
        worst_ = std::max(worst_, took);
      }
    });
  }

  void stop() {
    stopped_ = true;
    for (std::jthread& thread : threads_)
      if (thread.joinable()) thread.join();
  }
  std::vector<std::string> errors() const { return errors_; }
  std::uint64_t operations() const { return operations_; }
  double worst_milliseconds() const {
    return std::chrono::duration<double, std::milli>(worst_).count();
  }

 private:
  std::atomic<bool> stopped_ = false;
  std::atomic<std::uint64_t> operations_ = 0;
  mutable std::mutex mutex_;
  std::vector<std::string> errors_;
  SteadyClock::duration worst_{};
  std::vector<std::jthread> threads_;
};

std::string errno_text(const std::string& what) {
  return what + ": " + std::string(strerrordesc_np(errno));
}

// A file and what must be in it.
struct Known {
  std::filesystem::path path;
  Bytes content;
};

void read_some(int fd, const Known& known, std::mt19937& random, std::size_t length,
               std::byte* buffer) {
  const std::size_t blocks = (known.content.size() - length) / 4096 + 1;
  const std::size_t offset = random() % blocks * 4096;
  const ssize_t got = ::pread(fd, buffer, length, static_cast<off_t>(offset));
  if (got < 0) throw errno_text(fmt::format("read {} at {}", known.path.string(), offset));
  if (static_cast<std::size_t>(got) != length ||
      !std::equal(buffer, buffer + length, known.content.begin() + static_cast<long>(offset)))
    throw fmt::format("wrong bytes in {} at {}: {} read", known.path.string(), offset, got);
}

unique_fd open_or_throw(const std::filesystem::path& path, int flags) {
  unique_fd fd(::open(path.c_str(), flags | O_CLOEXEC));
  if (!fd) throw errno_text("open " + path.string());
  return fd;
}

struct AlignedBuffer {
  explicit AlignedBuffer(std::size_t size)
      : data(static_cast<std::byte*>(std::aligned_alloc(4096, size))) {}
  ~AlignedBuffer() { std::free(data); }
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;
  std::byte* data;
};

// From one open descriptor, for as long as the test lasts.
void add_held_reader(Readers& readers, const Known& known, int flags) {
  auto fd = std::make_shared<unique_fd>(open_or_throw(known.path, O_RDONLY | flags));
  auto buffer = std::make_shared<AlignedBuffer>(65536);
  readers.add(flags == 0 ? "buffered" : "direct", [fd, buffer, &known](std::mt19937& random) {
    read_some(fd->get(), known, random, random() % 2 == 0 ? 4096 : 65536, buffer->data);
  });
}

void add_opening_reader(Readers& readers, const std::vector<Known>& files) {
  auto buffer = std::make_shared<AlignedBuffer>(4096);
  readers.add("opening", [buffer, &files](std::mt19937& random) {
    const Known& known = files[random() % files.size()];
    const unique_fd fd = open_or_throw(known.path, O_RDONLY);
    read_some(fd.get(), known, random, std::min<std::size_t>(4096, known.content.size()),
              buffer->data);
  });
}

void add_looking_reader(Readers& readers, const std::vector<Known>& files) {
  readers.add("looking", [&files](std::mt19937& random) {
    const Known& known = files[random() % files.size()];
    struct stat attributes{};
    if (::stat(known.path.c_str(), &attributes) != 0) throw errno_text("stat " + known.path.string());
    if (static_cast<std::size_t>(attributes.st_size) != known.content.size())
      throw fmt::format("{} has {} bytes", known.path.string(), attributes.st_size);
    if (random() % 16 != 0) return;
    std::error_code error;
    std::size_t names = 0;
    for (auto entry = std::filesystem::directory_iterator(known.path.parent_path(), error);
         !error && entry != std::filesystem::directory_iterator(); entry.increment(error))
      ++names;
    if (error) throw "list: " + error.message();
    if (names == 0) throw std::string("an empty listing");
  });
}

void add_mapping_reader(Readers& readers, const Known& known) {
  readers.add("mapped", [&known](std::mt19937& random) {
    const unique_fd fd = open_or_throw(known.path, O_RDONLY);
    void* const map =
        ::mmap(nullptr, known.content.size(), PROT_READ, MAP_SHARED, fd.get(), 0);
    if (map == MAP_FAILED) throw errno_text("map " + known.path.string());
    const auto* const bytes = static_cast<const std::byte*>(map);
    bool equal = true;
    for (int i = 0; i < 64 && equal; ++i) {
      const std::size_t at = random() % known.content.size();
      equal = bytes[at] == known.content[at];
    }
    ::munmap(map, known.content.size());
    if (!equal) throw "wrong bytes in the map of " + known.path.string();
  });
}

class HolderTest : public SiteTest {
 protected:
  void SetUp() override {
    SiteTest::SetUp();
    if (!site) return;
    RecordProperty("seed", static_cast<int>(seed));
    fmt::print("seed {}\n", seed);
    change(fmt::format("head -c {} /dev/urandom > disk.raw; mkdir many; "
                       "for i in $(seq 1 40); do head -c 20000 /dev/urandom > many/$i; done",
                       disk_size));
    ASSERT_DONE(site->publish(image));
    ASSERT_DONE(site->start_cache());
  }

  void complete_version(int number) {
    const auto pulled = site->cache_client().post(
        fmt::format("/api/images/{}/versions/{}/pull", image, number), nlohmann::json());
    ASSERT_DONE(pulled);
    ASSERT_DONE(site->wait_until_complete(image, number));
  }

  Known known(int number, const std::string& name) const {
    return {site->view(image, number) / name,
            read_file(site->master_version(image, number) / name, disk_size).value()};
  }
  std::vector<Known> small_files(int number) const {
    std::vector<Known> files;
    for (int i = 1; i <= 40; ++i) files.push_back(known(number, fmt::format("many/{}", i)));
    return files;
  }

  pid_t worker() const { return worker_of(site->cache().id()); }

  // Kills the worker that serves now, and waits until another one is there.
  void kill_worker() {
    const pid_t victim = worker();
    if (victim != 0) ::kill(victim, SIGKILL);
    ASSERT_DONE(Site::wait_until(
        [&] {
          const pid_t now = worker();
          return now != 0 && now != victim;
        },
        "the next worker"));
    ++kills_;
  }
  void kill_workers(int count) {
    for (int i = 0; i < count && !HasFatalFailure(); ++i) {
      kill_worker();
      std::this_thread::sleep_for(std::chrono::milliseconds(10 + random_() % 51));
    }
  }
  // The one that is there now answers.
  void expect_alive() {
    ASSERT_DONE(Site::wait_until([&] { return site->ask_cache("/api/status").has_value(); },
                                 "the worker to answer"));
  }

  void expect_no_errors(Readers& readers) {
    readers.stop();
    for (const std::string& error : readers.errors()) ADD_FAILURE() << error;
    fmt::print("{} operations, {} kills, the longest wait {:.0f} ms\n", readers.operations(),
               kills_, readers.worst_milliseconds());
    RecordProperty("longest_wait_ms", fmt::format("{:.1f}", readers.worst_milliseconds()));
  }

  const unsigned seed = std::random_device()();
  std::mt19937 random_{seed};
  int kills_ = 0;
};

TEST_F(HolderTest, KillsOfTheWorkerAreNotSeenByReaders) {
  complete_version(1);
  const Known disk = known(1, "disk.raw");
  const std::vector<Known> files = small_files(1);
  Readers readers;
  add_held_reader(readers, disk, 0);
  add_held_reader(readers, disk, O_DIRECT);
  add_mapping_reader(readers, disk);
  add_opening_reader(readers, files);
  add_looking_reader(readers, files);
  kill_workers(is_long_run() ? 3000 : 200);
  expect_no_errors(readers);
  expect_alive();
  EXPECT_EQ(site->ask_cache("/api/status").value().at("view").at("served_files").size(), 0u);
}

}  // namespace
}  // namespace icbd::system_test
