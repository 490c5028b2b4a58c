#include "icbd/base/buffer_pool.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <optional>
#include <thread>
#include <vector>

namespace icbd {
namespace {

constexpr std::size_t size = 64 * 1024;

TEST(BufferPool, GivesWholePages) {
  BufferPool pool(size, 2);
  const auto buffer = pool.take();
  EXPECT_EQ(buffer.bytes.size(), size);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.bytes.data()) % 4096, 0u);
}

TEST(BufferPool, WhatWasGivenBackIsUsedAgain) {
  BufferPool pool(size, 2);
  const std::byte* first = pool.take().bytes.data();
  EXPECT_EQ(pool.take().bytes.data(), first);
}

TEST(BufferPool, WhatIsHeldIsNobodyElses) {
  BufferPool pool(size, 2);
  const auto one = pool.take();
  const auto other = pool.take();
  EXPECT_NE(one.bytes.data(), other.bytes.data());
}

TEST(BufferPool, ABufferOutlivesItsPool) {
  std::optional<BufferPool> pool(std::in_place, size, 2);
  const auto buffer = pool->take();
  pool.reset();
  std::memset(buffer.bytes.data(), 1, buffer.bytes.size());
}

TEST(BufferPool, IsSharedByThreads) {
  BufferPool pool(size, 2);
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&pool, i] {
      for (int round = 0; round < 1000; ++round) {
        const auto buffer = pool.take();
        std::memset(buffer.bytes.data(), i, 16);
        EXPECT_EQ(buffer.bytes[15], static_cast<std::byte>(i)) << "another thread wrote to it";
      }
    });
}

}  // namespace
}  // namespace icbd
