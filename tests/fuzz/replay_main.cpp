// Runs a fuzz target once over every file of the folders given as arguments; with
// ICBD_FUZZ_SECONDS=N, then for so long over random changes of them. No match for a fuzzer that
// follows the code's branches, but it needs no other compiler, and so runs wherever the tests do.
//
// What was run last lies in the file PROGRAM.input: after a crash, that is the finding.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "icbd/base/bytes.h"
#include "icbd/base/file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

constexpr std::size_t input_size_max = std::size_t{64} << 20;
// Larger ones are replayed, but change slowly and teach little.
constexpr std::size_t changed_size_max = std::size_t{64} << 10;

void run(const icbd::Bytes& input) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
}

icbd::Status replay_folder(const std::filesystem::path& folder, std::vector<icbd::Bytes>& inputs) {
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    ICBD_ASSIGN(icbd::Bytes input, icbd::read_file(entry.path(), input_size_max));
    // Said before the run: a crash leaves the file's name as the last line.
    std::printf("%s\n", entry.path().c_str());
    std::fflush(stdout);
    run(input);
    inputs.push_back(std::move(input));
  }
  return {};
}

// Changes inputs the way fuzzers do that know nothing of their meaning.
class Changer {
 public:
  Changer(std::vector<icbd::Bytes> seeds, std::uint64_t seed)
      : seeds_(std::move(seeds)), random_(seed) {}

  icbd::Bytes next() {
    icbd::Bytes input = any();
    for (std::size_t i = 0, changes = 1 + below(6); i < changes; ++i) change(input);
    input.resize(std::min(input.size(), changed_size_max));
    return input;
  }

 private:
  std::size_t below(std::size_t bound) { return random_() % std::max<std::size_t>(bound, 1); }
  const icbd::Bytes& any() { return seeds_[below(seeds_.size())]; }
  std::ptrdiff_t place(const icbd::Bytes& bytes) {
    return static_cast<std::ptrdiff_t>(below(bytes.size() + 1));
  }

  void change(icbd::Bytes& input) {
    const std::ptrdiff_t at = place(input);
    const std::size_t left = input.size() - static_cast<std::size_t>(at);
    const auto length = static_cast<std::ptrdiff_t>(std::min(left, 1 + below(16)));
    switch (below(6)) {
      case 0:  // a bit
        if (left > 0) input[static_cast<std::size_t>(at)] ^= std::byte(1 << below(8));
        break;
      case 1:  // a number at its limits
        for (std::ptrdiff_t i = 0, byte = std::ptrdiff_t(below(3)); i < length; ++i)
          input[static_cast<std::size_t>(at + i)] = std::byte(byte == 0   ? 0x00
                                                              : byte == 1 ? 0xff
                                                                          : 0x7f);
        break;
      case 2:  // less
        input.erase(input.begin() + at, input.begin() + at + length);
        break;
      case 3: {  // more of the same
        const icbd::Bytes copy(input.begin() + at, input.begin() + at + length);
        const std::ptrdiff_t to = place(input);
        input.insert(input.begin() + to, copy.begin(), copy.end());
        break;
      }
      case 4: {  // the beginning of one, the end of another
        const icbd::Bytes& other = any();
        input.resize(static_cast<std::size_t>(at));
        input.insert(input.end(), other.begin() + place(other), other.end());
        break;
      }
      default:  // anything
        for (std::ptrdiff_t i = 0; i < length; ++i)
          input[static_cast<std::size_t>(at + i)] = std::byte(random_());
    }
  }

  std::vector<icbd::Bytes> seeds_;
  std::mt19937_64 random_;
};

icbd::Status run_changed(std::vector<icbd::Bytes> seeds, std::chrono::seconds duration,
                         const std::string& found) {
  const char* fixed = std::getenv("ICBD_TEST_SEED");
  const std::uint64_t seed = fixed ? std::strtoull(fixed, nullptr, 10) : std::random_device()();
  std::printf("ICBD_TEST_SEED=%llu\n", static_cast<unsigned long long>(seed));
  std::fflush(stdout);
  std::erase_if(seeds, [](const icbd::Bytes& bytes) { return bytes.size() > changed_size_max; });
  if (seeds.empty()) seeds.emplace_back();
  Changer changer(std::move(seeds), seed);
  ICBD_ASSIGN(const icbd::unique_fd file, icbd::open_file(found, O_WRONLY | O_CREAT, 0600));
  const auto end = std::chrono::steady_clock::now() + duration;
  std::uint64_t runs = 0;
  for (; std::chrono::steady_clock::now() < end; ++runs) {
    const icbd::Bytes input = changer.next();
    ICBD_TRY(icbd::write_at(file.get(), input, 0));
    if (::ftruncate(file.get(), static_cast<off_t>(input.size())) != 0)
      return icbd::fail_errno("truncate " + found);
    run(input);
  }
  ::unlink(found.c_str());
  std::printf("%llu changed inputs\n", static_cast<unsigned long long>(runs));
  return {};
}

}  // namespace

int main(int argument_count, char** arguments) {
  std::vector<icbd::Bytes> inputs;
  icbd::Status done;
  for (int i = 1; done && i < argument_count; ++i) done = replay_folder(arguments[i], inputs);
  const bool ran = !inputs.empty();
  const char* seconds = std::getenv("ICBD_FUZZ_SECONDS");
  if (done && seconds != nullptr)
    done = run_changed(std::move(inputs), std::chrono::seconds(std::atoi(seconds)),
                       std::string(arguments[0]) + ".input");
  if (!done) std::fprintf(stderr, "%s\n", done.error().message().c_str());
  // A test that ran nothing has shown nothing.
  return done && ran ? 0 : 1;
}
