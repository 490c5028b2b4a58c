#include "write_back.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <thread>
#include <vector>

namespace icbd::replicator {
namespace {

using ::testing::ElementsAre;
using namespace std::chrono_literals;

constexpr std::uint64_t piece = WriteBack::piece_bytes;

// What was begun, in order. next() waits for one more.
class Disk {
 public:
  WriteBack::Begin begin() {
    return [this](FileIndex file, ByteRange range) {
      gate_.wait();
      const std::lock_guard lock(mutex_);
      begun_.emplace_back(file, range);
      changed_.notify_all();
    };
  }
  using Begun = std::vector<std::pair<FileIndex, ByteRange>>;
  Begun wait_for(std::size_t count) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, 30s, [&] { return begun_.size() >= count; }));
    return begun_;
  }
  void hold() { gate_ = go_.get_future().share(); }
  void let_go() { go_.set_value(); }

 private:
  std::promise<void> go_;
  std::shared_future<void> gate_ = [] {
    std::promise<void> open;
    open.set_value();
    return open.get_future().share();
  }();
  std::mutex mutex_;
  std::condition_variable changed_;
  Begun begun_;
};

TEST(WriteBack, BeginsWhenAPieceIsTogether) {
  Disk disk;
  WriteBack write_back(disk.begin());
  write_back.written(FileIndex(1), {piece, piece / 2});
  write_back.written(FileIndex(1), {0, piece / 4});  // in any order, with gaps
  write_back.written(FileIndex(1), {3 * piece, piece / 4});
  write_back.written(FileIndex(1), {4 * piece, piece});
  EXPECT_THAT(disk.wait_for(2),
              ElementsAre(std::pair(FileIndex(1), ByteRange{0, 3 * piece + piece / 4}),
                          std::pair(FileIndex(1), ByteRange{4 * piece, piece})));
}

TEST(WriteBack, LeavesSmallFilesToTheKernel) {
  Disk disk;
  WriteBack write_back(disk.begin());
  for (std::uint32_t file = 0; file < 100; ++file)
    write_back.written(FileIndex(file), {0, piece / 2});
  write_back.written(FileIndex(100), {0, piece});
  EXPECT_THAT(disk.wait_for(1), ElementsAre(std::pair(FileIndex(100), ByteRange{0, piece})));
}

TEST(WriteBack, WhoWritesWaitsForADiskThatIsFarBehindAndNotBefore) {
  Disk disk;
  disk.hold();
  WriteBack write_back(disk.begin());
  constexpr std::uint64_t most = WriteBack::most_waiting_bytes / piece;
  for (std::uint64_t i = 0; i < most; ++i) write_back.written(FileIndex(1), {i * piece, piece});
  std::atomic<bool> went_on = false;
  std::jthread writer([&] {
    write_back.written(FileIndex(1), {most * piece, piece});
    went_on = true;
  });
  std::this_thread::sleep_for(50ms);  // what must not happen has no condition to wait for
  EXPECT_FALSE(went_on);
  disk.let_go();
  writer.join();
  EXPECT_EQ(disk.wait_for(most + 1).size(), most + 1);
}

}  // namespace
}  // namespace icbd::replicator
