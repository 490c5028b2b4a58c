// What of the kernel's FUSE interface is newer than the headers that this is built with.
//
// From include/uapi/linux/fuse.h of Linux 6.9; checked against no header at run time: the kernel
// says in INIT what it has.
#pragma once

#include <sys/ioctl.h>

#include <cstdint>

namespace icbd::fs::kernel {

// Capabilities in INIT: `flags` holds the lower half, `flags2` the upper one if init_ext is set.
inline constexpr std::uint64_t init_ext = std::uint64_t{1} << 30;
inline constexpr std::uint64_t passthrough = std::uint64_t{1} << 37;
inline constexpr std::uint64_t has_resend = std::uint64_t{1} << 39;

// open_flags of a reply to OPEN: the kernel reads from the backing file by itself.
inline constexpr std::uint32_t open_passthrough = 1u << 7;

// Set in the `unique` of a request that an earlier daemon had taken and not answered.
inline constexpr std::uint64_t unique_resend = std::uint64_t{1} << 63;
// Consecutive requests are this far apart (FUSE_REQ_ID_STEP in fs/fuse/fuse_i.h).
inline constexpr unsigned unique_step_bits = 1;

inline constexpr std::uint32_t opcode_forget = 2;
inline constexpr std::uint32_t opcode_init = 26;
inline constexpr std::uint32_t opcode_interrupt = 36;
inline constexpr std::uint32_t opcode_batch_forget = 42;
inline constexpr std::int32_t notify_resend = 7;

struct BackingMap {
  std::int32_t fd = -1;
  std::uint32_t flags = 0;
  std::uint64_t padding = 0;
};

// On /dev/fuse; both need CAP_SYS_ADMIN.
inline const unsigned long backing_open = _IOW(229, 1, BackingMap);
inline const unsigned long backing_close = _IOW(229, 2, std::uint32_t);

// In front of every request; `unique` goes back with the reply.
struct RequestHeader {
  std::uint32_t length = 0;
  std::uint32_t opcode = 0;
  std::uint64_t unique = 0;
  std::uint64_t node = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t pid = 0;
  std::uint32_t padding = 0;
};
static_assert(sizeof(RequestHeader) == 40);

struct InitRequest {
  RequestHeader header;
  std::uint32_t major = 0;
  std::uint32_t minor = 0;
  std::uint32_t max_readahead = 0;
  std::uint32_t flags = 0;
  std::uint32_t flags2 = 0;  // only there if flags has init_ext
};

struct ReplyHeader {
  std::uint32_t length = 0;
  std::int32_t error = 0;
  std::uint64_t unique = 0;
};
static_assert(sizeof(ReplyHeader) == 16);

struct InitReply {
  ReplyHeader header;
  std::uint32_t major = 0;
  std::uint32_t minor = 0;
  std::uint32_t max_readahead = 0;
  std::uint32_t flags = 0;
  std::uint16_t max_background = 0;
  std::uint16_t congestion_threshold = 0;
  std::uint32_t max_write = 0;
  std::uint32_t time_granularity = 0;
  std::uint16_t max_pages = 0;
  std::uint16_t map_alignment = 0;
  std::uint32_t flags2 = 0;
  std::uint32_t max_stack_depth = 0;
  std::uint32_t unused[6] = {};
};
static_assert(sizeof(InitReply) == 16 + 64);

struct OpenReply {
  std::uint64_t handle = 0;
  std::uint32_t open_flags = 0;
  std::int32_t backing_id = 0;
};
static_assert(sizeof(OpenReply) == 16);

}  // namespace icbd::fs::kernel
