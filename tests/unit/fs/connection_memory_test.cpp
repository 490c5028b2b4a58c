#include "connection_memory.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <functional>

namespace icbd::fs {
namespace {

// As a holder does: the next process gets a descriptor of the same memory.
unique_fd copy_of(const ConnectionMemory& memory) {
  return unique_fd(::fcntl(memory.fd(), F_DUPFD_CLOEXEC, 0));
}

TEST(ConnectionMemory, IsEmptyWhenItIsMade) {
  const auto memory = ConnectionMemory::create();
  ASSERT_TRUE(memory) << memory.error().message();
  EXPECT_EQ(memory->header().init_length, 0u);
  EXPECT_EQ(memory->header().handles_used, 0u);
  EXPECT_EQ(memory->handles().size(), ConnectionMemory::most_handles);
  EXPECT_EQ(memory->backings().size(), ConnectionMemory::most_backings);
  EXPECT_EQ(memory->handles().back().node, 0u);
}

TEST(ConnectionMemory, TheNextProcessFindsWhatTheOneBeforeWrote) {
  std::optional<ConnectionMemory> first = ConnectionMemory::create().value();
  first->header().handles_used = 7;
  first->handles()[6].node = 42;
  first->backings().back().id = 43;
  unique_fd kept = copy_of(*first);
  first.reset();
  const auto next = ConnectionMemory::attach(std::move(kept));
  ASSERT_TRUE(next) << next.error().message();
  EXPECT_EQ(next->header().handles_used, 7u);
  EXPECT_EQ(next->handles()[6].node, 42u);
  EXPECT_EQ(next->backings().back().id, 43u);
}

TEST(ConnectionMemory, WhatIsSparseCostsNothing) {
  const ConnectionMemory memory = ConnectionMemory::create().value();
  memory.handles().back().node = 1;
  struct stat attributes{};
  ASSERT_EQ(::fstat(memory.fd(), &attributes), 0);
  EXPECT_LT(attributes.st_blocks * 512, 64 * 1024);
}

TEST(ConnectionMemory, OfAnotherReleaseIsRefused) {
  const ConnectionMemory memory = ConnectionMemory::create().value();
  ++memory.header().layout;
  const auto attached = ConnectionMemory::attach(copy_of(memory));
  ASSERT_FALSE(attached);
  EXPECT_EQ(attached.error().code(), ErrorCode::unsupported);
}

TEST(ConnectionMemory, OfAnotherSizeIsRefusedBeforeAnythingOfItIsRead) {
  unique_fd small(::memfd_create("icbd-test", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(small.get(), 4096), 0);
  const auto attached = ConnectionMemory::attach(std::move(small));
  ASSERT_FALSE(attached);
  EXPECT_EQ(attached.error().code(), ErrorCode::unsupported);
}

TEST(ConnectionMemory, WhoseCountsCannotBeIsRefused) {
  using Header = ConnectionMemory::Header;
  const std::function<void(Header&)> damages[] = {
      [](Header& header) { header.init_length = 257; },
      [](Header& header) { header.handles_used = ConnectionMemory::most_handles + 1; },
      [](Header& header) { header.backings_used = ConnectionMemory::most_backings + 1; }};
  for (const auto& damage : damages) {
    const ConnectionMemory memory = ConnectionMemory::create().value();
    damage(memory.header());
    const auto attached = ConnectionMemory::attach(copy_of(memory));
    ASSERT_FALSE(attached);
    EXPECT_EQ(attached.error().code(), ErrorCode::corrupt);
  }
}

TEST(ConnectionMemory, WhatIsNoMemoryAtAllIsAnError) {
  EXPECT_FALSE(ConnectionMemory::attach(unique_fd()));
}

}  // namespace
}  // namespace icbd::fs
