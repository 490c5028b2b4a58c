// Files that hold a virtual machine's disk: raw, or anything that qemu-img reads.
//
// Guarantees: a guest, who can write anything into a raw image, cannot make it be read as another
// format, which would let it name files of this machine as its backing file: name and content have
// to agree, or a person says the format. Formats are never guessed for backing files either.
// An image that a virtual machine has open for writing is refused, by QEMU's own locks.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "icbd/base/error.h"
#include "icbd/base/unique_fd.h"

namespace icbd::repository {

// Units of size of the disk that a guest, or an iSCSI initiator, sees.
inline constexpr std::uint64_t sector_size = 512;

struct DiskImage {
  std::string format;                           // as qemu-img calls it: "raw", "qcow2", "vmdk", …
  std::uint64_t size = 0;                       // of the disk that a guest sees
  std::vector<std::string> backing_files = {};  // what it is an overlay of, the nearest first
};

// `format` empty: told by name and content. invalid_argument with what to do if they disagree, or
// if it is no disk; unsupported if it is encrypted, has its data elsewhere, or qemu-img is missing.
Result<DiskImage> inspect_disk_image(const std::filesystem::path& file, const std::string& format,
                                     const std::atomic<bool>* cancelled);

// Opens it for reading, and keeps virtual machines from opening it for writing while the descriptor
// is open. `busy` if one has it open.
Result<unique_fd> open_disk_image(const std::filesystem::path& file);

// True if name and content agree that it is a disk image of another format than raw.
Result<bool> is_other_format(int fd, const std::filesystem::path& name);

// How many bytes convert_to_raw() will write: of the disk, what is neither a hole nor zeros.
Result<std::uint64_t> measure_raw(const std::filesystem::path& file, const DiskImage& image,
                                  const std::atomic<bool>* cancelled);
// Writes the disk, backing files included, to a new sparse file. `bytes_done` grows to about
// `bytes_total`.
struct ConvertProgress {
  std::uint64_t bytes_total = 0;
  std::atomic<std::uint64_t>* bytes_done = nullptr;
  const std::atomic<bool>* cancelled = nullptr;
};
Status convert_to_raw(const std::filesystem::path& file, const DiskImage& image,
                      const std::filesystem::path& destination, const ConvertProgress& progress);

}  // namespace icbd::repository
