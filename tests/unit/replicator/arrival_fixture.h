// Master and cache as two repositories on one real BTRFS, and between them a source that misbehaves
// on command: held, cut, corrupted or rewritten by the test.
#pragma once

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <chrono>
#include <condition_variable>
#include <future>
#include <optional>
#include <thread>

#include "icbd/replicator/replicator.h"
#include "icbd/repository/publish.h"
#include "icbd/source/repository_source.h"

#include "harness/loop_btrfs.h"
#include "harness/run.h"
#include "harness/tree.h"

namespace icbd::replicator {

using namespace std::chrono_literals;

// Of a Result or Status.
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
      const std::optional<source::KnownCatalog>& known) override {
    if (away_) return fail(ErrorCode::unavailable, "away");
    auto snapshot = real_.catalog(rewrite_catalog ? std::nullopt : known);
    if (rewrite_catalog && snapshot && *snapshot) rewrite_catalog(**snapshot);
    return snapshot;
  }
  Status shape(const source::ShapeRequest& request, const source::ShapeSink& sink) override {
    if (away_) return fail(ErrorCode::unavailable, "away");
    ++shapes_served;
    if (!rewrite_shape) return real_.shape(request, sink);
    Bytes whole;
    source::ShapeBegin began;
    ICBD_TRY(real_.shape(request, {[&](const source::ShapeBegin& begin) -> Status {
                                     began = begin;
                                     return {};
                                   },
                                   [&](ByteView piece) -> Status {
                                     whole.insert(whole.end(), piece.begin(), piece.end());
                                     return {};
                                   }}));
    ICBD_TRY(sink.begin(began));
    return sink.data(rewrite_shape(began, whole));
  }
  Result<std::vector<Bytes>> pages(const Digest& manifest,
                                   std::span<const Digest> digests) override {
    if (away_) return fail(ErrorCode::unavailable, "away");
    ++pages_asked;
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
      if (on_extent) on_extent(data.extent);
      if (corrupt_extents_ == 0 || data.all_zero) return received(data);
      --corrupt_extents_;
      Bytes damaged(data.data.begin(), data.data.end());
      damaged.back() ^= std::byte{1};
      return received({data.extent, data.owner, damaged, false});
    });
  }

  Status stream(const source::StreamRequest& request,
                const std::function<Status(ByteView)>& data) override {
    ++streams_asked;
    if (away_) return fail(ErrorCode::unavailable, "away");
    if (stream_fails) return std::unexpected(*stream_fails);
    std::uint64_t sent = 0;
    return real_.stream(request, [&](ByteView piece) -> Status {
      if (on_stream) ICBD_TRY(on_stream(sent));
      sent += piece.size();
      if (!damage_stream) return data(piece);
      Bytes damaged(piece.begin(), piece.end());
      damage_stream(damaged);
      return data(damaged);
    });
  }

  Status encoded_extents(const Digest& manifest, std::span<const source::Extent> extents,
                         const source::EncodedSink& sink) override {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return !held_[static_cast<int>(source::Priority::bulk)]; });
    }
    if (away_) return fail(ErrorCode::unavailable, "away");
    const auto count = [&](const source::ExtentData& data) {
      ++extents_served;
      if (on_extent) on_extent(data.extent);
      return sink.plain(data);
    };
    const auto count_encoded = [&](const source::EncodedExtent& extent) {
      ++encoded_served;
      return on_encoded ? on_encoded(extent, sink) : sink.encoded(extent);
    };
    return real_.encoded_extents(manifest, extents, {.plain = count, .encoded = count_encoded});
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
  std::atomic<int> encoded_served = 0;
  std::atomic<int> shapes_served = 0;
  std::atomic<int> pages_asked = 0;
  std::atomic<int> streams_asked = 0;
  // To be set before the replicator starts, or while no call is under way.
  std::function<void(source::CatalogSnapshot&)> rewrite_catalog;
  std::function<Bytes(const source::ShapeBegin&, ByteView)> rewrite_shape;
  std::function<void(const source::Extent&)> on_extent;
  // Instead of a stream; before each piece of one, with how much came before; what becomes of it.
  std::optional<Error> stream_fails;
  std::function<Status(std::uint64_t)> on_stream;
  std::function<void(Bytes&)> damage_stream;
  // Delivers what it likes in the place of a compressed extent. Called by several threads.
  std::function<Status(const source::EncodedExtent&, const source::EncodedSink&)> on_encoded;

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
    auto cache = repository::Repository::open(cache_directory(), make_silent_logger());
    ASSERT_DONE(cache);
    cache_ = std::move(*cache);
  }
  // Where the cache's repository is to be; on the master's filesystem unless said otherwise.
  virtual std::filesystem::path cache_directory() { return path() / "cache"; }
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

  void publish(const std::string& script, const std::string& image = "image") {
    ASSERT_DONE(harness::shell_checked("cd '" + (path() / "live").string() + "'\n" + script));
    repository::PublishProgress progress;
    ASSERT_DONE(repository::publish(*master_, {image, path() / "live", "test"}, progress));
  }
  void start(ReplicatorOptions options = {}) {
    options.poll_interval = 20ms;
    replicator_.emplace(*cache_, *source_, clock_, options, logger_);
    ASSERT_DONE(replicator_->start());
  }
  void start(std::chrono::milliseconds fetch_timeout) { start({.fetch_timeout = fetch_timeout}); }
  VersionSerial serial(std::uint32_t number, const std::string& image = "image") {
    const auto version = cache_->catalog().version(image, VersionNumber(number));
    EXPECT_TRUE(version.has_value());
    return version ? version->serial : VersionSerial();
  }
  static void wait_until(const std::function<bool()>& condition, const char* what) {
    const auto end = std::chrono::steady_clock::now() + 30s;
    while (!condition()) {
      ASSERT_LT(std::chrono::steady_clock::now(), end) << what;
      std::this_thread::sleep_for(2ms);
    }
  }
  Result<std::shared_ptr<const OpenedVersion>> open(std::uint32_t number,
                                                    const std::string& image = "image") {
    // Shared, because the waiter may go on before set_value() has returned.
    const auto answer =
        std::make_shared<std::promise<Result<std::shared_ptr<const OpenedVersion>>>>();
    replicator_->open(serial(number, image),
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
  void wait_until_known(std::uint32_t number, const std::string& image = "image") {
    wait_until(
        [&] {
          const auto version = cache_->catalog().version(image, VersionNumber(number));
          return version && replicator_->find(version->serial);
        },
        "the version is not seen");
  }
  bool is_complete(std::uint32_t number, const std::string& image = "image") {
    return replicator_->find(serial(number, image))->state == catalog::VersionState::complete;
  }
  void wait_until_complete(std::uint32_t number, const std::string& image = "image") {
    wait_until([&] { return is_complete(number, image); }, "the version does not become complete");
  }
  // Waits until the version is known here, opens it, lets it be filled and lands it.
  std::shared_ptr<Arrival> let_arrive(std::uint32_t number) {
    wait_until_known(number);
    const auto version = open(number);
    EXPECT_TRUE(version.has_value()) << version.error().message();
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

  Logger logger_ =
      std::getenv("ICBD_TEST_LOG") ? *make_logger("test", "debug") : make_silent_logger();
  SystemClock clock_;
  std::unique_ptr<repository::Repository> master_, cache_;
  std::optional<source::RepositorySource> real_;
  std::optional<FaultySource> source_;
  std::optional<Replicator> replicator_;
};

}  // namespace icbd::replicator
