// Many readers of one file that wait: each reads a place of its own of what has not come yet.
//
// A read that fails is begun again. Ends when it is killed; waiting reads are interrupted by that.
//   parked_readers FILE THREADS
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdint>
#include <string_view>
#include <thread>
#include <vector>

#include "icbd/base/unique_fd.h"

namespace icbd {
namespace {

void read_until_killed(int file, std::int64_t offset) {
  std::array<char, 4096> buffer{};
  while (::pread(file, buffer.data(), buffer.size(), offset) < 0) {
  }
}

int run(const char* path, unsigned readers) {
  const unique_fd file(::open(path, O_RDONLY | O_CLOEXEC));
  struct stat attributes{};
  if (!file || ::fstat(file.get(), &attributes) != 0) {
    fmt::print(stderr, "parked_readers: {} cannot be opened\n", path);
    return 1;
  }
  std::vector<std::jthread> threads;
  for (unsigned i = 0; i < readers; ++i)
    threads.emplace_back(read_until_killed, file.get(), attributes.st_size / readers * i);
  return 0;  // when all have been answered: nobody was parked
}

}  // namespace
}  // namespace icbd

int main(int count, char** arguments) {
  unsigned readers = 0;
  if (count == 3) {
    const std::string_view text = arguments[2];
    std::from_chars(text.data(), text.data() + text.size(), readers);
  }
  if (readers == 0) {
    fmt::print(stderr, "usage: parked_readers FILE THREADS\n");
    return 2;
  }
  return icbd::run(arguments[1], readers);
}
