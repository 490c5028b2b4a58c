#include "system/checked_readers.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "icbd/base/unique_fd.h"

namespace icbd::system_test {
namespace {

constexpr std::size_t errors_kept = 20;

std::string errno_text(const std::string& what) {
  return what + ": " + std::string(strerrordesc_np(errno));
}

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

}  // namespace

// ---- Readers -------------------------------------------------------------------------------

void Readers::take_step(const std::string& name, const std::function<void()>& step, Timed timed) {
  const auto begun = Clock::now();
  std::string error;
  try {
    step();
  } catch (const std::string& what) {
    error = name + ": " + what;
  }
  const auto took = Clock::now() - begun;
  ++operations_;
  const std::lock_guard lock(mutex_);
  if (!error.empty() && errors_.size() < errors_kept) errors_.push_back(error);
  if (timed == Timed::yes) worst_ = std::max(worst_, took);
}

void Readers::add(std::string name, std::function<void(std::mt19937&)> step, Timed timed) {
  const auto seed = static_cast<unsigned>(threads_.size() + 1);
  threads_.emplace_back([this, name = std::move(name), step = std::move(step), timed, seed] {
    std::mt19937 random(seed);
    while (!stopped_) take_step(name, [&] { step(random); }, timed);
  });
}

void Readers::stop() {
  stopped_ = true;
  for (std::jthread& thread : threads_)
    if (thread.joinable()) thread.join();
}

double Readers::worst_milliseconds() const {
  return std::chrono::duration<double, std::milli>(worst_).count();
}

// ---- what they do --------------------------------------------------------------------------

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
    if (::stat(known.path.c_str(), &attributes) != 0)
      throw errno_text("stat " + known.path.string());
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
    void* const map = ::mmap(nullptr, known.content.size(), PROT_READ, MAP_SHARED, fd.get(), 0);
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

}  // namespace icbd::system_test
