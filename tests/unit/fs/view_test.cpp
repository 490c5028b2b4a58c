// A view over a library that has nothing, on a real mount.

#include "icbd/fs/view.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "harness/temporary_directory.h"

namespace icbd::fs {
namespace {

using namespace std::chrono_literals;

class EmptyLibrary : public Library {
 public:
  std::shared_ptr<const Images> images() override { return std::make_shared<const Images>(); }
  std::optional<VersionEntry> version(VersionSerial) override { return std::nullopt; }
  std::shared_ptr<Tree> tree(VersionSerial) override { return nullptr; }
  void prepare(VersionSerial, TreeDone done) override {
    done(fail(ErrorCode::not_found, "there is none"));
  }
  Result<struct statvfs> space() override { return fail(ErrorCode::unsupported, "there is none"); }
};

// What is busy for ever is taken for hung by whoever watches it, and replaced.
TEST(ViewTest, AViewThatNobodyAsksIsBusyWithNothing) {
  const auto mountpoint = harness::TemporaryDirectory::create();
  ASSERT_TRUE(mountpoint.has_value()) << mountpoint.error().message();
  EmptyLibrary library;
  const auto view = View::mount(library, {.mountpoint = mountpoint->path()}, make_silent_logger());
  ASSERT_TRUE(view.has_value()) << view.error().message();
  const auto mounted = std::chrono::steady_clock::now();
  const auto mounted_for = [&] { return std::chrono::steady_clock::now() - mounted; };
  // Mounting itself was a request; were it never done with, this would be seen by then.
  while (mounted_for() < 50ms) EXPECT_FALSE(std::filesystem::exists(mountpoint->path() / "image"));
  while ((*view)->longest_operation() != 0ms && mounted_for() < 10s)
    std::this_thread::sleep_for(1ms);
  EXPECT_EQ((*view)->longest_operation(), 0ms);
}

}  // namespace
}  // namespace icbd::fs
