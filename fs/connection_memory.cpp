#include "connection_memory.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <new>
#include <utility>

namespace icbd::fs {
namespace {

constexpr std::uint64_t magic = 0x6573'7566'6462'6369;  // "icbdfuse"
// To be raised whenever what follows the header's first 16 bytes is laid out differently.
constexpr std::uint32_t layout_version = 1;

}  // namespace

// Sparse: memory is used only for slots that ever were.
struct ConnectionMemory::Layout {
  Header header;
  alignas(4096) std::array<Handle, most_handles> handles;
  std::array<Backing, most_backings> backings;
  alignas(4096) std::array<Request, most_requests> requests;
};

Result<ConnectionMemory> ConnectionMemory::map(unique_fd memory) {
  void* const address =
      ::mmap(nullptr, sizeof(Layout), PROT_READ | PROT_WRITE, MAP_SHARED, memory.get(), 0);
  if (address == MAP_FAILED) return fail_errno("map the memory of the mount");
  // The kernel gave zeros, or what an earlier process wrote: nothing may be written here.
  return ConnectionMemory(std::move(memory), std::launder(static_cast<Layout*>(address)));
}

Result<ConnectionMemory> ConnectionMemory::create() {
  unique_fd memory(::memfd_create("icbd-mount", MFD_CLOEXEC));
  if (!memory) return fail_errno("make the memory of the mount");
  if (::ftruncate(memory.get(), sizeof(Layout)) != 0)
    return fail_errno("size the memory of the mount");
  ICBD_ASSIGN(ConnectionMemory made, map(std::move(memory)));
  made.header().magic = magic;
  made.header().layout = layout_version;
  return made;
}

Result<ConnectionMemory> ConnectionMemory::attach(unique_fd memory) {
  struct stat attributes{};
  if (::fstat(memory.get(), &attributes) != 0) return fail_errno("stat the memory of the mount");
  if (attributes.st_size != sizeof(Layout))
    return fail(ErrorCode::unsupported,
                fmt::format("the memory of the mount has {} bytes, this release knows {}: umount "
                            "and mount again",
                            attributes.st_size, sizeof(Layout)));
  ICBD_ASSIGN(ConnectionMemory made, map(std::move(memory)));
  const Header& header = made.header();
  if (header.magic != magic || header.layout != layout_version)
    return fail(ErrorCode::unsupported,
                fmt::format("the memory of the mount has layout {}, this release knows {}: umount "
                            "and mount again",
                            header.layout, layout_version));
  if (header.init_length > header.init.size() || header.handles_used > most_handles ||
      header.backings_used > most_backings || header.requests_used > most_requests)
    return fail(ErrorCode::corrupt, "the memory of the mount is damaged: umount and mount again");
  return made;
}

ConnectionMemory::ConnectionMemory(ConnectionMemory&& other) noexcept
    : fd_(std::move(other.fd_)), layout_(std::exchange(other.layout_, nullptr)) {}

ConnectionMemory::~ConnectionMemory() {
  if (layout_ != nullptr) ::munmap(layout_, sizeof(Layout));
}

ConnectionMemory::Header& ConnectionMemory::header() const {
  return layout_->header;
}

std::span<ConnectionMemory::Handle> ConnectionMemory::handles() const {
  return layout_->handles;
}

std::span<ConnectionMemory::Request> ConnectionMemory::requests() const {
  return layout_->requests;
}

std::span<ConnectionMemory::Backing> ConnectionMemory::backings() const {
  return layout_->backings;
}

}  // namespace icbd::fs
