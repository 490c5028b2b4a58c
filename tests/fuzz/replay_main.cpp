// Runs a fuzz target once over every file of the folders given as arguments.
#include <cstdint>
#include <cstdio>
#include <filesystem>

#include "icbd/base/file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

constexpr std::size_t input_size_max = std::size_t{64} << 20;

// The number of files that were run.
icbd::Result<int> replay_folder(const std::filesystem::path& folder) {
  int files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    ICBD_ASSIGN(const icbd::Bytes input, icbd::read_file(entry.path(), input_size_max));
    // Said before the run: a crash leaves the file's name as the last line.
    std::printf("%s\n", entry.path().c_str());
    std::fflush(stdout);
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
    ++files;
  }
  return files;
}

}  // namespace

int main(int argument_count, char** arguments) {
  int files = 0;
  for (int i = 1; i < argument_count; ++i) {
    const auto replayed = replay_folder(arguments[i]);
    if (!replayed) {
      std::fprintf(stderr, "%s\n", replayed.error().message().c_str());
      return 1;
    }
    files += *replayed;
  }
  // A test that ran nothing has shown nothing.
  return files > 0 ? 0 : 1;
}
