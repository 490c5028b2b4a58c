// An arrival against a source that misbehaves on command. Master and cache are two repositories on
// one real BTRFS; the source between them is held, cut or corrupted by the test.

#include "icbd/replicator/arrival.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <condition_variable>
#include <future>

#include "icbd/replicator/replicator.h"
#include "icbd/repository/publish.h"
#include "icbd/source/repository_source.h"

#include "harness/loop_btrfs.h"
#include "harness/run.h"
#include "harness/tree.h"

namespace icbd::replicator {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

#define ASSERT_DONE(expression)                                        \
  do {                                                                 \
    const auto& icbd_done = (expression);                              \
    ASSERT_TRUE(icbd_done.has_value()) << icbd_done.error().message(); \
  } while (false)

// Passes everything on to a real source, unless the test says otherwise.
class FaultySource final : public source::Source {
 public:
  explicit FaultySource(source::Source& real) : real_(real) {}

  Result<std::optional<source::CatalogSnapshot>> catalog(
      std::optional<std::uint64_t> known) override {
    if (away_) return fail(ErrorCode::unavailable, "away");
    return real_.catalog(known);
  }
  Status shape(const source::ShapeRequest& request, const source::ShapeSink& sink) override {
    if (away_) return fail(ErrorCode::unavailable, "away");
    return real_.shape(request, sink);
  }
  Result<std::vector<Bytes>> pages(const Digest& manifest,
                                   std::span<const Digest> digests) override {
    if (away_) return fail(ErrorCode::unavailable, "away");
    auto pages = real_.pages(manifest, digests);
    if (pages && corrupt_pages_ && !pages->empty()) pages->front().front() ^= std::byte{1};
    return pages;
  }
  Status extents(const Digest& manifest, std::span<const source::Extent> extents,
                 source::Priority priority,
                 const std::function<Status(const source::ExtentData&)>& received) override {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return !held_[static_cast<int>(priority)]; });
    }
    if (away_) return fail(ErrorCode::unavailable, "away");
    return real_.extents(manifest, extents, priority, [&](const source::ExtentData& data) {
      ++extents_served;
      if (corrupt_extents_ == 0 || data.all_zero) return received(data);
      --corrupt_extents_;
      Bytes damaged(data.data.begin(), data.data.end());
      damaged.back() ^= std::byte{1};
      return received({data.extent, data.owner, damaged, false});
    });
  }

  void hold(source::Priority priority, bool held) {
    {
      const std::lock_guard lock(mutex_);
      held_[static_cast<int>(priority)] = held;
    }
    changed_.notify_all();
  }
  void set_away(bool away) { away_ = away; }
  void corrupt_next_extents(int count) { corrupt_extents_ = count; }
  void set_corrupt_pages(bool corrupt) { corrupt_pages_ = corrupt; }

  std::atomic<int> extents_served = 0;

 private:
  source::Source& real_;
  std::atomic<bool> away_ = false, corrupt_pages_ = false;
  std::atomic<int> corrupt_extents_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool held_[2] = {false, false};
};

class ArrivalTest : public harness::BtrfsTest {
 protected:
  void SetUp() override {
    BtrfsTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    for (const char* name : {"master", "cache"}) std::filesystem::create_directory(path() / name);
    ASSERT_DONE(harness::run_checked({"btrfs", "subvolume", "create", (path() / "live").string()}));
    auto master = repository::Repository::open(path() / "master", make_silent_logger());
    ASSERT_DONE(master);
    master_ = std::move(*master);
    real_.emplace(*master_);
    source_.emplace(*real_);
    auto cache = repository::Repository::open(path() / "cache", make_silent_logger());
    ASSERT_DONE(cache);
    cache_ = std::move(*cache);
  }
  void TearDown() override {
    if (source_) {
      source_->hold(source::Priority::demand, false);
      source_->hold(source::Priority::bulk, false);
    }
    replicator_.reset();
    cache_.reset();
    real_.reset();
    master_.reset();
    BtrfsTest::TearDown();
  }

  void publish(const std::string& script) {
    ASSERT_DONE(harness::shell_checked("cd '" + (path() / "live").string() + "'\n" + script));
    repository::PublishProgress progress;
    ASSERT_DONE(repository::publish(*master_, {"image", path() / "live", "test"}, progress));
  }
  void start(std::chrono::milliseconds fetch_timeout = 20s) {
    replicator_.emplace(
        *cache_, *source_, clock_,
        ReplicatorOptions{.fetch_timeout = fetch_timeout, .poll_interval = 20ms, .policy = {}},
        make_silent_logger());
    ASSERT_DONE(replicator_->start());
  }
  VersionSerial serial(std::uint32_t number) {
    const auto version = cache_->catalog().version("image", VersionNumber(number));
    EXPECT_TRUE(version.has_value());
    return version ? version->serial : VersionSerial();
  }
  Result<std::shared_ptr<const OpenedVersion>> open(std::uint32_t number) {
    // Shared, because the waiter may go on before set_value() has returned.
    const auto answer =
        std::make_shared<std::promise<Result<std::shared_ptr<const OpenedVersion>>>>();
    replicator_->open(serial(number),
                      [answer](auto result) { answer->set_value(std::move(result)); });
    return answer->get_future().get();
  }
  // The file's index, by path.
  static FileIndex file(const OpenedVersion& version, const std::string& path) {
    const auto& entries = version.arrival->content().entries();
    for (std::uint32_t i = 0; i < entries.size(); ++i)
      if (entries[i].path == path) return FileIndex(i);
    ADD_FAILURE() << path;
    return FileIndex(0);
  }
  static std::future<Result<Bytes>> read(const OpenedVersion& version, const std::string& path,
                                         ByteRange range) {
    auto answer = std::make_shared<std::promise<Result<Bytes>>>();
    version.arrival->read(file(version, path), range,
                          [answer](Result<Bytes> bytes) { answer->set_value(std::move(bytes)); });
    return answer->get_future();
  }
  void wait_until_complete(std::uint32_t number) {
    const auto end = std::chrono::steady_clock::now() + 30s;
    while (replicator_->find(serial(number))->state != catalog::VersionState::complete) {
      ASSERT_LT(std::chrono::steady_clock::now(), end) << "the version does not become complete";
      std::this_thread::sleep_for(2ms);
    }
  }
  // Waits until the version is known here, opens it, lets it be filled and lands it.
  std::shared_ptr<Arrival> let_arrive(std::uint32_t number) {
    const auto end = std::chrono::steady_clock::now() + 10s;
    while (!cache_->catalog().version("image", VersionNumber(number)))
      if (std::chrono::steady_clock::now() > end) return nullptr;
    const auto version = open(number);
    if (!version) return nullptr;
    replicator_->want((*version)->version.serial);
    wait_until_complete(number);
    return (*version)->arrival;
  }
  void expect_landed_equal(std::uint32_t number) {
    EXPECT_EQ(harness::diff_trees(master_->version_path("image", VersionNumber(number)),
                                  cache_->version_path("image", VersionNumber(number))),
              "");
  }

  SystemClock clock_;
  std::unique_ptr<repository::Repository> master_, cache_;
  std::optional<source::RepositorySource> real_;
  std::optional<FaultySource> source_;
  std::optional<Replicator> replicator_;
};

TEST_F(ArrivalTest, AReaderIsAnsweredWhileBulkIsStuck) {
  publish("head -c 20M /dev/urandom > disk");
  start();
  const auto version = open(1);
  ASSERT_DONE(version);
  source_->hold(source::Priority::bulk, true);
  replicator_->want((*version)->version.serial);
  const auto bytes = read(**version, "disk", {5'000'000, 100}).get();
  ASSERT_DONE(bytes);
  EXPECT_EQ(bytes->size(), 100u);
  // Also one whose chunk bulk has claimed and does not bring.
  ASSERT_DONE(read(**version, "disk", {0, 10}).get());
  source_->hold(source::Priority::bulk, false);
  wait_until_complete(1);
  expect_landed_equal(1);
}

TEST_F(ArrivalTest, AReadBeyondTheEndIsCutAndAnEmptyOneIsAnsweredAtOnce) {
  publish("printf 0123456789 > small");
  start();
  const auto version = open(1);
  ASSERT_DONE(version);
  const auto tail = read(**version, "small", {7, 100}).get();
  ASSERT_DONE(tail);
  EXPECT_EQ(as_text(*tail), "789");
  const auto nothing = read(**version, "small", {10, 100}).get();
  ASSERT_DONE(nothing);
  EXPECT_TRUE(nothing->empty());
}

TEST_F(ArrivalTest, AReaderWaitsOutASourceThatIsAwayForAMoment) {
  publish("head -c 1M /dev/urandom > disk");
  start();
  const auto version = open(1);
  ASSERT_DONE(version);
  source_->set_away(true);
  auto bytes = read(**version, "disk", {0, 4096});
  EXPECT_EQ(bytes.wait_for(300ms), std::future_status::timeout);
  source_->set_away(false);
  ASSERT_DONE(bytes.get());
}

TEST_F(ArrivalTest, AReaderFailsWhenTheSourceStaysAway) {
  publish("head -c 1M /dev/urandom > disk");
  start(200ms);
  const auto version = open(1);
  ASSERT_DONE(version);
  source_->set_away(true);
  const auto bytes = read(**version, "disk", {0, 4096}).get();
  ASSERT_FALSE(bytes.has_value());
  EXPECT_EQ(bytes.error().code(), ErrorCode::timed_out);
  EXPECT_EQ(to_errno(bytes.error()), EIO);
}

TEST_F(ArrivalTest, AChunkThatComesDamagedOnceIsFetchedAgain) {
  publish("head -c 1M /dev/urandom > disk");
  start();
  const auto version = open(1);
  ASSERT_DONE(version);
  source_->corrupt_next_extents(1);
  const auto bytes = read(**version, "disk", {0, 4096}).get();
  ASSERT_DONE(bytes);
  replicator_->want((*version)->version.serial);
  wait_until_complete(1);
  expect_landed_equal(1);
}

TEST_F(ArrivalTest, AChunkThatStaysDamagedIsNeverServedNorLanded) {
  publish("head -c 1M /dev/urandom > disk");
  start();
  const auto version = open(1);
  ASSERT_DONE(version);
  source_->corrupt_next_extents(1'000'000);
  const auto bytes = read(**version, "disk", {0, 4096}).get();
  ASSERT_FALSE(bytes.has_value());
  EXPECT_EQ(bytes.error().code(), ErrorCode::corrupt);
  EXPECT_THAT(bytes.error().message(), HasSubstr("does not match its manifest"));
  EXPECT_EQ(replicator_->find(serial(1))->state, catalog::VersionState::arriving);
}

TEST_F(ArrivalTest, ADamagedManifestPageRefusesTheVersionAndLeavesNothing) {
  publish("head -c 1M /dev/urandom > disk");
  start();
  source_->set_corrupt_pages(true);
  const auto version = open(1);
  ASSERT_FALSE(version.has_value());
  EXPECT_EQ(version.error().code(), ErrorCode::corrupt);
  EXPECT_FALSE(std::filesystem::exists(cache_->staging_path("image", VersionNumber(1))));
  source_->set_corrupt_pages(false);
  ASSERT_DONE(open(1));
}

TEST_F(ArrivalTest, OnlyChangedRangesAreFetched) {
  publish("head -c 4M /dev/urandom > disk");
  start();
  let_arrive(1);
  publish("printf change | dd of=disk bs=1 seek=1000000 conv=notrunc status=none");
  const auto arrival = let_arrive(2);
  ASSERT_TRUE(arrival);
  EXPECT_EQ(arrival->progress().bytes_fetched, 4096u) << "one block of one chunk";
  expect_landed_equal(2);
}

TEST_F(ArrivalTest, AFileRewrittenAsANewOneIsSharedAndNotFetched) {
  publish("head -c 4M /dev/urandom > disk");
  start();
  let_arrive(1);
  publish("cp --reflink=never disk new; mv new disk; echo more >> disk");
  const auto arrival = let_arrive(2);
  ASSERT_TRUE(arrival);
  EXPECT_EQ(arrival->progress().bytes_shared, 4u * 1024 * 1024);
  EXPECT_LT(arrival->progress().bytes_fetched, 1024u);
  expect_landed_equal(2);
}

TEST_F(ArrivalTest, StoppingAnswersEveryReaderAndTheNextStartGoesOn) {
  publish("head -c 8M /dev/urandom > disk");
  start();
  {
    const auto version = open(1);
    ASSERT_DONE(version);
    ASSERT_DONE(read(**version, "disk", {0, 3'000'000}).get());
    source_->set_away(true);
    auto waiting = read(**version, "disk", {6'000'000, 100});
    replicator_->stop();
    const auto bytes = waiting.get();
    ASSERT_FALSE(bytes.has_value());
    EXPECT_EQ(bytes.error().code(), ErrorCode::cancelled);
  }
  replicator_.reset();
  source_->set_away(false);
  source_->extents_served = 0;
  start();
  wait_until_complete(1);
  expect_landed_equal(1);
  EXPECT_LE(source_->extents_served, 64 - 23) << "23 chunks were here before";
}

}  // namespace
}  // namespace icbd::replicator
