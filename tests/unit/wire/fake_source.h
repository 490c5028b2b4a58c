// A Source in memory, for tests of the wire.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>

#include "icbd/source/source.h"

namespace icbd::wire::testing {

// What every test's version looks like: file i has `file_size` bytes, each chunk with a pattern of
// its own; odd chunks of odd files are zero.
class FakeSource final : public source::Source {
 public:
  static constexpr std::uint64_t file_size = 8 * 1024 * 1024;

  FakeSource();

  Result<std::optional<source::CatalogSnapshot>> catalog(
      const std::optional<source::KnownCatalog>& known) override;
  Status shape(const source::ShapeRequest& request, const source::ShapeSink& sink) override;
  Result<std::vector<Bytes>> pages(const Digest& manifest,
                                   std::span<const Digest> digests) override;
  Status extents(const Digest& manifest, std::span<const source::Extent> extents,
                 source::Priority priority,
                 const std::function<Status(const source::ExtentData&)>& received) override;
  // The bytes of the shape, too.
  Status stream(const source::StreamRequest& request,
                const std::function<Status(ByteView)>& data) override;
  // Those of `encoded` that lie wholly in what is asked for, as they are; the rest plainly.
  Status encoded_extents(const Digest& manifest, std::span<const source::Extent> extents,
                         const source::EncodedSink& sink) override;
  Result<std::uint64_t> extent_border(const Digest& manifest, FileIndex file,
                                      std::uint64_t offset) override;

  // The bytes that an extent must have; empty if they are all zero.
  static Bytes content(const source::Extent& extent);
  // `count` whole chunks, from the first file on.
  static std::vector<source::Extent> chunks(std::size_t count);

  // Calls that begin from now on wait until release().
  void hold();
  void release();
  // Returns when `count` calls have begun to wait.
  void wait_for_held(std::size_t count);

  source::CatalogSnapshot snapshot;
  Digest manifest;    // other manifests are not_found
  Bytes shape_bytes;  // sent in uneven pieces
  std::map<Digest, Bytes> page_set;
  std::vector<source::EncodedExtent> encoded = {};                         // of file 0, in order
  std::atomic<source::Priority> last_priority = source::Priority::demand;  // of extents()

 private:
  void pass_gate();

  std::mutex mutex_;
  std::condition_variable changed_;
  bool held_ = false;
  std::size_t waiting_ = 0;
};

}  // namespace icbd::wire::testing
