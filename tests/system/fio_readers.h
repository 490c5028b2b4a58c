// fio as a reader: each block of a file that it has laid out carries its own place and checksum, so
// that whoever reads the file later can tell whether a block is what was written there.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "harness/process.h"
#include "system/checked_readers.h"
#include "system/site.h"

namespace icbd::system_test {

// A command of the shell that lays `file` out; with another seed, its content is another.
std::string fio_layout_command(const std::string& file, std::size_t size, unsigned seed);

// Two jobs of one fio that read blocks of one such file at random, one through the page cache and
// one with O_DIRECT. Either ends at its first error.
// Lifecycle: start() runs it; it goes on until stop(), the destructor, or the death of the test.
class FioReaders {
 public:
  struct Found {
    std::uint64_t reads = 0;
    double longest_wait_milliseconds = 0;
  };

  static Result<std::unique_ptr<FioReaders>> start(const Site& site,
                                                   const std::filesystem::path& file);
  // What fio has found; an error that quotes it if anything failed or was wrong, if it has ended
  // before, or if a job has read nothing.
  Result<Found> stop();

 private:
  explicit FioReaders(std::unique_ptr<harness::Process> process) : process_(std::move(process)) {}

  std::unique_ptr<harness::Process> process_;
};

// One fio after the other opens one of `files`, reads all of it in random order, and closes it.
void add_fio_reader(Readers& readers, const std::vector<std::filesystem::path>& files);

}  // namespace icbd::system_test
