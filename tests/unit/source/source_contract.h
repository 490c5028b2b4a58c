// What every Source has to do: one suite for all implementations.
//
// Use: a factory type with
//     Result<std::unique_ptr<source::Source>> make(repository::Repository&);
// that keeps alive whatever the source needs (a server, a connection); it is destroyed after the
// source and before the repository. Then, in one .cpp:
//     INSTANTIATE_TYPED_TEST_SUITE_P(Remote, SourceContract, RemoteSourceFactory);
// The test binary needs ROOT, and DEPENDS repository source sendstream harness.
#pragma once

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "icbd/base/file.h"
#include "icbd/base/limits.h"
#include "icbd/btrfs/subvolume.h"
#include "icbd/manifest/manifest.h"
#include "icbd/manifest/page_store.h"
#include "icbd/repository/publish.h"
#include "icbd/repository/repository.h"
#include "icbd/sendstream/decoder.h"
#include "icbd/sendstream/decompress.h"
#include "icbd/source/source.h"

#include "harness/loop_btrfs.h"
#include "harness/run.h"

namespace icbd::source {

template <typename Factory>
class SourceContract : public harness::BtrfsTest {
 protected:
  static constexpr std::uint64_t disk_size = 24 * 1024 * 1024 + 1000;

  // What is random is not compressed all the same.
  harness::LoopBtrfsOptions btrfs_options() const override {
    return {.mount_options = "compress=zstd"};
  }

  // Two versions of "disk": a disk image with a hole, changed in place, and a few files.
  void SetUp() override {
    BtrfsTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    std::filesystem::create_directory(path() / "repository");
    ASSERT_TRUE(btrfs::create_subvolume(live()));
    auto opened = repository::Repository::open(path() / "repository", make_silent_logger());
    ASSERT_TRUE(opened) << opened.error().message();
    repository_ = std::move(*opened);
    in_live(
        fmt::format("head -c {} /dev/urandom > disk.raw\n"
                    "fallocate --punch-hole --offset 4M --length 4M disk.raw\n"
                    "mkdir d; echo x > d/file; ln d/file hard; ln -s d/file soft; touch empty",
                    disk_size));
    first_ = publish();
    in_live("head -c 5000 /dev/urandom | dd of=disk.raw bs=4096 seek=1000 conv=notrunc");
    second_ = publish();
    auto source = factory_.make(*repository_);
    ASSERT_TRUE(source) << source.error().message();
    source_ = std::move(*source);
  }

  std::filesystem::path live() const { return path() / "live"; }
  void in_live(const std::string& script) {
    const auto done = harness::shell_checked(fmt::format("cd '{}'\n{}", live().string(), script));
    ASSERT_TRUE(done) << done.error().message();
  }
  catalog::VersionFacts publish() {
    repository::PublishProgress progress;
    const auto report = repository::publish(
        *repository_, {.image = "disk", .path = live(), .message = "from a test"}, progress);
    EXPECT_TRUE(report) << report.error().message();
    return report ? report->version.facts : catalog::VersionFacts{};
  }

  // Every page of a manifest, fetched from the source; verified by the store it is put into.
  std::unique_ptr<manifest::MemoryPageStore> fetch_pages(const Digest& manifest) {
    auto store = std::make_unique<manifest::MemoryPageStore>();
    fetch(manifest, {manifest}, *store);
    const auto reader = manifest::Reader::open(*store, manifest);
    if (!reader) return store;
    fetch(manifest, reader->missing_metadata(), *store);
    const auto entries = reader->entries();
    EXPECT_TRUE(entries) << entries.error().message();
    for (const manifest::Entry& entry : *entries)
      while (true) {
        const auto missing = reader->missing_digest_pages(entry);
        if (!missing || missing->empty()) break;
        if (!fetch(manifest, *missing, *store)) break;
      }
    return store;
  }

  bool fetch(const Digest& manifest, const std::vector<Digest>& digests,
             manifest::MemoryPageStore& store) {
    const auto pages = source_->pages(manifest, digests);
    EXPECT_TRUE(pages) << pages.error().message();
    if (!pages) return false;
    EXPECT_EQ(pages->size(), digests.size());
    for (std::size_t i = 0; i < pages->size(); ++i) {
      const auto added = store.add((*pages)[i]);
      EXPECT_TRUE(added && *added == digests[i]) << "a page that is not what it is called";
      if (!added || *added != digests[i]) return false;
    }
    return true;
  }

  std::vector<manifest::Entry> entries_of(const Digest& manifest) {
    const auto store = fetch_pages(manifest);
    const auto reader = manifest::Reader::open(*store, manifest);
    EXPECT_TRUE(reader) << reader.error().message();
    auto entries = reader->entries();
    EXPECT_TRUE(entries) << entries.error().message();
    return std::move(*entries);
  }

  FileIndex index_of(const Digest& manifest, const std::string& name) {
    const auto entries = entries_of(manifest);
    const auto found = std::ranges::find(entries, name, &manifest::Entry::path);
    EXPECT_NE(found, entries.end());
    return FileIndex(static_cast<std::uint32_t>(found - entries.begin()));
  }

  // All chunks of disk.raw.
  std::vector<Extent> disk_extents(FileIndex file) {
    std::vector<Extent> extents;
    for (std::uint64_t offset = 0; offset < disk_size; offset += limits::chunk_size)
      extents.push_back(
          {file, {offset, std::min<std::uint64_t>(limits::chunk_size, disk_size - offset)}});
    return extents;
  }

  // Reads extents of disk.raw and puts the bytes where they belong; checks each comes once.
  Result<Bytes> read_disk(const Digest& manifest, std::span<const Extent> extents,
                          Priority priority) {
    Bytes content(disk_size, std::byte{0xEE});
    std::size_t count = 0;
    const Status read =
        source_->extents(manifest, extents, priority, [&](const ExtentData& data) -> Status {
          ++count;
          const ByteRange range = data.extent.range;
          EXPECT_NE(std::ranges::find(extents, data.extent), extents.end());
          EXPECT_EQ(data.data.size(), data.all_zero ? 0 : range.length);
          const auto target = content.begin() + static_cast<std::ptrdiff_t>(range.offset);
          std::fill_n(target, range.length, std::byte{0});
          std::ranges::copy(data.data, target);
          return {};
        });
    if (!read) return std::unexpected(read.error());
    EXPECT_EQ(count, extents.size());
    return content;
  }

  Bytes disk_on_disk(int number) {
    const auto content =
        read_file(path() / "repository/disk" / std::to_string(number) / "disk.raw", disk_size);
    EXPECT_TRUE(content) << content.error().message();
    return content ? *content : Bytes{};
  }

  // Runs a shape through the decoder; what it began with and the number of commands.
  struct Shape {
    std::optional<Uuid> parent;
    int begins = 0;
    int commands = 0;
    std::uint64_t bytes = 0;
  };
  Result<Shape> read_shape(const ShapeRequest& request) {
    Shape shape;
    sendstream::Decoder decoder;
    const ShapeSink sink{.begin = [&](const ShapeBegin& begin) -> Status {
                           shape.begins += 1;
                           shape.parent = begin.parent;
                           return {};
                         },
                         .data = [&](ByteView piece) -> Status {
                           EXPECT_EQ(shape.begins, 1) << "data before the beginning";
                           shape.bytes += piece.size();
                           decoder.feed(piece);
                           return count_commands(decoder, shape.commands);
                         }};
    ICBD_TRY(source_->shape(request, sink));
    EXPECT_TRUE(decoder.finish()) << decoder.finish().error().message();
    return shape;
  }

  // The bytes that a stream writes to a file; "" for what it writes under other names.
  Result<std::map<std::string, Bytes>> read_stream(const StreamRequest& request) {
    std::map<std::string, Bytes> written;
    sendstream::Decoder decoder;
    const Status done = source_->stream(request, [&](ByteView piece) -> Status {
      decoder.feed(piece);
      while (true) {
        ICBD_ASSIGN(const auto command, decoder.next());
        if (!command) return {};
        if (const auto* write = std::get_if<sendstream::Write>(&*command)) {
          Bytes& file = written[write->path];
          file.resize(std::max<std::size_t>(file.size(), write->offset + write->data.size()));
          std::ranges::copy(write->data, file.begin() + static_cast<std::ptrdiff_t>(write->offset));
        }
      }
    });
    ICBD_TRY(done);
    ICBD_TRY(decoder.finish());
    return written;
  }

  static Status count_commands(sendstream::Decoder& decoder, int& commands) {
    while (true) {
      ICBD_ASSIGN(const auto command, decoder.next());
      if (!command) return {};
      ++commands;
    }
  }

  Status ask(const Digest& manifest, const Extent& extent) {
    return source_->extents(manifest, std::span(&extent, 1), Priority::demand,
                            [](const ExtentData&) -> Status { return {}; });
  }

  // Destroyed from below: the source, what it needs, the repository, the filesystem.
  std::unique_ptr<repository::Repository> repository_;
  Factory factory_;
  std::unique_ptr<Source> source_;
  catalog::VersionFacts first_;
  catalog::VersionFacts second_;
};

TYPED_TEST_SUITE_P(SourceContract);

TYPED_TEST_P(SourceContract, CatalogHasEverythingComplete) {
  const catalog::Tag tag{.image = "disk", .name = "current", .number = VersionNumber(1)};
  ASSERT_TRUE(this->repository_->catalog().set_tag(tag));
  const auto answer = this->source_->catalog(std::nullopt);
  ASSERT_TRUE(answer) << answer.error().message();
  ASSERT_TRUE(answer->has_value());
  const CatalogSnapshot& snapshot = **answer;
  EXPECT_EQ(snapshot.repository, this->repository_->catalog().identity().uuid);
  EXPECT_EQ(snapshot.epoch, this->repository_->catalog().identity().epoch);
  EXPECT_EQ(snapshot.images, std::vector<std::string>{"disk"});
  EXPECT_EQ(snapshot.versions, (std::vector{this->first_, this->second_}));
  EXPECT_EQ(snapshot.tags, std::vector{tag});
}

TYPED_TEST_P(SourceContract, CatalogSaysNothingWithoutAChange) {
  const auto answer = this->source_->catalog(std::nullopt);
  ASSERT_TRUE(answer && answer->has_value());
  const KnownCatalog known = (*answer)->known();
  const auto unchanged = this->source_->catalog(known);
  ASSERT_TRUE(unchanged) << unchanged.error().message();
  EXPECT_FALSE(unchanged->has_value());

  this->publish();
  const auto changed = this->source_->catalog(known);
  ASSERT_TRUE(changed) << changed.error().message();
  ASSERT_TRUE(changed->has_value());
  EXPECT_EQ((*changed)->versions.size(), 3u);
  EXPECT_GT((*changed)->change_number, known.change_number);
}

TYPED_TEST_P(SourceContract, CatalogIsToldAnewToWhoKnowsItFromAnotherSession) {
  const auto answer = this->source_->catalog(std::nullopt);
  ASSERT_TRUE(answer && answer->has_value());
  KnownCatalog known = (*answer)->known();
  known.session = Uuid::random();
  const auto again = this->source_->catalog(known);
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_TRUE(again->has_value()) << "the catalog may have been restored from a backup meanwhile";
}

TYPED_TEST_P(SourceContract, CatalogHidesWhatIsNotComplete) {
  catalog::VersionFacts facts;
  facts.image = "other";
  facts.number = VersionNumber(1);
  facts.uuid = Uuid::random();
  ASSERT_TRUE(this->repository_->catalog().add_version(facts, catalog::VersionState::remote));
  const auto answer = this->source_->catalog(std::nullopt);
  ASSERT_TRUE(answer && answer->has_value());
  EXPECT_EQ((*answer)->versions.size(), 2u);
}

TYPED_TEST_P(SourceContract, ShapeAgainstNothingIsFull) {
  const auto shape = this->read_shape({.manifest = this->first_.manifest, .offered = {}});
  ASSERT_TRUE(shape) << shape.error().message();
  EXPECT_EQ(shape->begins, 1);
  EXPECT_EQ(shape->parent, std::nullopt);
  EXPECT_GT(shape->commands, 5);
}

TYPED_TEST_P(SourceContract, ShapeAgainstTheParentIsSmall) {
  const auto full = this->read_shape({.manifest = this->second_.manifest, .offered = {}});
  const auto change = this->read_shape(
      {.manifest = this->second_.manifest, .offered = {Uuid::random(), this->first_.uuid}});
  ASSERT_TRUE(full) << full.error().message();
  ASSERT_TRUE(change) << change.error().message();
  EXPECT_EQ(change->parent, this->first_.uuid);
  EXPECT_LT(change->bytes, full->bytes);
}

TYPED_TEST_P(SourceContract, ShapeAgainstALaterVersion) {
  const auto shape =
      this->read_shape({.manifest = this->first_.manifest, .offered = {this->second_.uuid}});
  ASSERT_TRUE(shape) << shape.error().message();
  EXPECT_EQ(shape->parent, this->second_.uuid);
}

TYPED_TEST_P(SourceContract, ShapeIsNeverAgainstItself) {
  const auto shape =
      this->read_shape({.manifest = this->second_.manifest, .offered = {this->second_.uuid}});
  ASSERT_TRUE(shape) << shape.error().message();
  EXPECT_EQ(shape->parent, std::nullopt);
}

TYPED_TEST_P(SourceContract, ShapeEndsWithItsSink) {
  const ShapeSink sink{
      .begin = [](const ShapeBegin&) -> Status { return {}; },
      .data = [](ByteView) -> Status { return fail(ErrorCode::cancelled, "enough"); }};
  const Status shape =
      this->source_->shape({.manifest = this->first_.manifest, .offered = {}}, sink);
  ASSERT_FALSE(shape);
  EXPECT_EQ(shape.error().code(), ErrorCode::cancelled);
  EXPECT_TRUE(this->read_shape({.manifest = this->first_.manifest, .offered = {}}))
      << "the source works on";
}

TYPED_TEST_P(SourceContract, PagesAreWhatTheirDigestsSay) {
  for (const auto& facts : {this->first_, this->second_}) {
    const auto store = this->fetch_pages(facts.manifest);
    const auto reader = manifest::Reader::open(*store, facts.manifest);
    ASSERT_TRUE(reader) << reader.error().message();
    const auto entries = reader->entries();
    ASSERT_TRUE(entries) << entries.error().message();
    EXPECT_EQ(entries->size(), facts.entries);
    for (const manifest::Entry& entry : *entries) {
      const auto missing = reader->missing_digest_pages(entry);
      ASSERT_TRUE(missing) << missing.error().message();
      EXPECT_EQ(missing->size(), 0u);
    }
  }
}

TYPED_TEST_P(SourceContract, UnknownDigestsAreNotFound) {
  const Digest unknown = sha256(as_bytes("nobody has this"));
  const auto pages = this->source_->pages(this->first_.manifest, std::vector{unknown});
  ASSERT_FALSE(pages);
  EXPECT_EQ(pages.error().code(), ErrorCode::not_found);
  const auto other = this->source_->pages(unknown, std::vector{unknown});
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code(), ErrorCode::not_found);
  const auto shape = this->read_shape({.manifest = unknown, .offered = {}});
  ASSERT_FALSE(shape);
  EXPECT_EQ(shape.error().code(), ErrorCode::not_found);
  const Status extents = this->ask(unknown, {FileIndex(1), {0, 1}});
  ASSERT_FALSE(extents);
  EXPECT_EQ(extents.error().code(), ErrorCode::not_found);
}

TYPED_TEST_P(SourceContract, ExtentsAreTheFilesBytes) {
  int number = 1;
  for (const auto& facts : {this->first_, this->second_}) {
    const auto extents = this->disk_extents(this->index_of(facts.manifest, "disk.raw"));
    for (const Priority priority : {Priority::bulk, Priority::demand}) {
      const auto content = this->read_disk(facts.manifest, extents, priority);
      ASSERT_TRUE(content) << content.error().message();
      EXPECT_TRUE(*content == this->disk_on_disk(number)) << "version " << number;
    }
    ++number;
  }
}

// Puts what encoded_extents() gives into `content`, and counts the bytes.
struct Unpacked {
  EncodedSink sink() {
    return {.plain = [this](const ExtentData& data) -> Status {
              if (!data.all_zero) put(data.extent.range, data.data);
              plain += data.extent.range.length;
              return {};
            },
            .encoded = [this](const EncodedExtent& extent) -> Status {
              const auto bytes =
                  sendstream::decompress({.path = {},
                                          .offset = extent.range.offset,
                                          .unencoded_file_length = extent.range.length,
                                          .unencoded_length = extent.unencoded_length,
                                          .unencoded_offset = extent.unencoded_offset,
                                          .compression = extent.compression,
                                          .encryption = {},
                                          .data = extent.data});
              ICBD_TRY(bytes);
              EXPECT_EQ(extent.data.size() % 4096, 0u) << "whole sectors";
              put(extent.range, *bytes);
              encoded += extent.range.length;
              return {};
            }};
  }
  void put(ByteRange range, ByteView bytes) {
    std::ranges::copy(bytes, content.begin() + static_cast<std::ptrdiff_t>(range.offset));
  }
  Bytes content;
  std::uint64_t plain = 0;
  std::uint64_t encoded = 0;
};

TYPED_TEST_P(SourceContract, CompressedExtentsComeAsTheyAreOnTheDisk) {
  // Neither begins nor ends with a chunk, and has something in it that does not pack.
  this->in_live(
      "seq 1 600000 | dd of=text bs=4096 seek=5 conv=notrunc status=none; sync text\n"
      "head -c 8192 /dev/urandom | dd of=text bs=4096 seek=100 conv=notrunc status=none; sync "
      "text");
  const auto facts = this->publish();
  const FileIndex file = this->index_of(facts.manifest, "text");
  const auto expected = read_file(this->path() / "repository/disk/3/text", 16 << 20);
  ASSERT_TRUE(expected) << expected.error().message();
  std::vector<Extent> extents;
  for (std::uint64_t at = 0; at < expected->size(); at += limits::chunk_size)
    extents.push_back(
        {file, {at, std::min<std::uint64_t>(limits::chunk_size, expected->size() - at)}});
  Unpacked unpacked{.content = Bytes(expected->size())};
  const Status read = this->source_->encoded_extents(facts.manifest, extents, unpacked.sink());
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_TRUE(unpacked.content == *expected);
  EXPECT_EQ(unpacked.plain + unpacked.encoded, expected->size()) << "each byte once";
  EXPECT_GT(unpacked.encoded, expected->size() * 3 / 4);
}

TYPED_TEST_P(SourceContract, AnExtentIsNotCutToGoAsItIs) {
  this->in_live("seq 1 600000 > text; sync text");
  const auto facts = this->publish();
  const FileIndex file = this->index_of(facts.manifest, "text");
  Unpacked unpacked{.content = Bytes(4 << 20)};
  const std::vector<Extent> within = {{file, {1024 * 1024 + 4096, 8192}}};
  const Status read = this->source_->encoded_extents(facts.manifest, within, unpacked.sink());
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_EQ(unpacked.encoded, 0u);
  EXPECT_EQ(unpacked.plain, 8192u);
}

TYPED_TEST_P(SourceContract, ExtentsComeInAnyOrderAndPart) {
  const FileIndex file = this->index_of(this->first_.manifest, "disk.raw");
  const Bytes expected = this->disk_on_disk(1);
  std::vector<Extent> extents = {{file, {this->disk_size - 1, 1}},
                                 {file, {limits::chunk_size + 17, 4096}},
                                 {file, {0, 100}},
                                 {file, {100, 1}}};
  const auto content = this->read_disk(this->first_.manifest, extents, Priority::demand);
  ASSERT_TRUE(content) << content.error().message();
  for (const Extent& extent : extents) {
    const auto begin = static_cast<std::ptrdiff_t>(extent.range.offset);
    const auto end = static_cast<std::ptrdiff_t>(extent.range.end());
    EXPECT_TRUE(
        std::equal(expected.begin() + begin, expected.begin() + end, content->begin() + begin));
  }
}

TYPED_TEST_P(SourceContract, HolesAreSaidNotSent) {
  const FileIndex file = this->index_of(this->first_.manifest, "disk.raw");
  const std::vector<Extent> extents = {{file, {5 * 1024 * 1024, limits::chunk_size}}};
  bool all_zero = false;
  const Status read = this->source_->extents(this->first_.manifest, extents, Priority::demand,
                                             [&](const ExtentData& data) -> Status {
                                               all_zero = data.all_zero;
                                               return {};
                                             });
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_TRUE(all_zero);
}

TYPED_TEST_P(SourceContract, BadExtentsAreInvalid) {
  const Digest& manifest = this->first_.manifest;
  const FileIndex file = this->index_of(manifest, "disk.raw");
  const std::vector<std::pair<std::string, Extent>> bad = {
      {"no such file", {FileIndex(100'000), {0, 1}}},
      {"a directory", {this->index_of(manifest, "d"), {0, 1}}},
      {"a symlink", {this->index_of(manifest, "soft"), {0, 1}}},
      {"another name", {this->index_of(manifest, "hard"), {0, 1}}},
      {"an empty file", {this->index_of(manifest, "empty"), {0, 1}}},
      {"nothing", {file, {0, 0}}},
      {"over the end", {file, {this->disk_size - 10, 11}}},
      {"behind the end", {file, {this->disk_size, 1}}},
      {"over a chunk's border", {file, {limits::chunk_size - 1, 2}}},
      {"a sum over 64 bits", {file, {~std::uint64_t{0}, 2}}}};
  for (const auto& [what, extent] : bad) {
    const Status status = this->ask(manifest, extent);
    ASSERT_FALSE(status) << what;
    EXPECT_EQ(status.error().code(), ErrorCode::invalid_argument) << what;
  }
  EXPECT_TRUE(this->ask(manifest, {file, {0, 1}})) << "the source works on";
}

TYPED_TEST_P(SourceContract, ExtentsEndWithTheirReceiver) {
  const auto extents = this->disk_extents(this->index_of(this->first_.manifest, "disk.raw"));
  const Status read = this->source_->extents(
      this->first_.manifest, extents, Priority::bulk,
      [](const ExtentData&) -> Status { return fail(ErrorCode::no_space, "full"); });
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code(), ErrorCode::no_space);
}

TYPED_TEST_P(SourceContract, TooMuchAtOnceIsRefused) {
  const FileIndex file = this->index_of(this->first_.manifest, "disk.raw");
  const std::vector<Extent> extents(limits::extents_per_request + 1, Extent{file, {0, 1}});
  const auto content = this->read_disk(this->first_.manifest, extents, Priority::bulk);
  ASSERT_FALSE(content);
  EXPECT_EQ(content.error().code(), ErrorCode::too_large);
  const std::vector<Digest> digests(limits::pages_per_request + 1, this->first_.manifest);
  const auto pages = this->source_->pages(this->first_.manifest, digests);
  ASSERT_FALSE(pages);
  EXPECT_EQ(pages.error().code(), ErrorCode::too_large);
}

TYPED_TEST_P(SourceContract, ManyThreadsAskAtOnce) {
  const auto first = this->disk_extents(this->index_of(this->first_.manifest, "disk.raw"));
  const auto second = this->disk_extents(this->index_of(this->second_.manifest, "disk.raw"));
  const Bytes first_content = this->disk_on_disk(1);
  const Bytes second_content = this->disk_on_disk(2);
  const auto work = [&](int thread) {
    const bool one = thread % 2 == 0;
    const Digest& manifest = one ? this->first_.manifest : this->second_.manifest;
    const Priority priority = thread % 4 < 2 ? Priority::bulk : Priority::demand;
    const auto content = this->read_disk(manifest, one ? first : second, priority);
    ASSERT_TRUE(content) << content.error().message();
    EXPECT_TRUE(*content == (one ? first_content : second_content));
    EXPECT_TRUE(this->read_shape({.manifest = manifest, .offered = {this->first_.uuid}}));
    EXPECT_TRUE(this->source_->pages(manifest, std::vector{manifest}));
    EXPECT_TRUE(this->source_->catalog(std::nullopt));
  };
  std::vector<std::jthread> threads;
  for (int thread = 0; thread < 8; ++thread) threads.emplace_back(work, thread);
}

TYPED_TEST_P(SourceContract, AStreamInFullHasEveryByte) {
  const auto written = this->read_stream({.manifest = this->second_.manifest, .parent = {}});
  ASSERT_TRUE(written) << written.error().message();
  ASSERT_TRUE(written->contains("disk.raw"));
  EXPECT_TRUE(written->at("disk.raw") == this->disk_on_disk(2));
}

TYPED_TEST_P(SourceContract, AStreamAgainstAParentHasWhatIsDifferent) {
  const auto written =
      this->read_stream({.manifest = this->second_.manifest, .parent = this->first_.uuid});
  ASSERT_TRUE(written) << written.error().message();
  ASSERT_EQ(written->size(), 1u);
  const Bytes& disk = written->at("disk.raw");
  const Bytes expected = this->disk_on_disk(2);
  EXPECT_TRUE(std::ranges::equal(std::span(disk).subspan(4'096'000, 5000),
                                 std::span(expected).subspan(4'096'000, 5000)));
  EXPECT_LT(disk.size(), 4'200'000u);
}

TYPED_TEST_P(SourceContract, AStreamAgainstWhatTheSourceHasNotIsNotFound) {
  for (const StreamRequest& request :
       {StreamRequest{.manifest = this->second_.manifest, .parent = Uuid::random()},
        StreamRequest{.manifest = sha256(as_bytes("nobody has this")), .parent = {}}}) {
    const auto written = this->read_stream(request);
    ASSERT_FALSE(written);
    EXPECT_EQ(written.error().code(), ErrorCode::not_found);
  }
}

TYPED_TEST_P(SourceContract, AStreamEndsWithItsSinkAndTheSourceWorksOn) {
  const StreamRequest request{.manifest = this->first_.manifest, .parent = {}};
  for (int i = 0; i < 3; ++i) {
    const Status ended = this->source_->stream(
        request, [](ByteView) -> Status { return fail(ErrorCode::io, "the disk is full"); });
    ASSERT_FALSE(ended);
    EXPECT_EQ(ended.error().code(), ErrorCode::io);
  }
  EXPECT_TRUE(this->read_stream(request));
}

REGISTER_TYPED_TEST_SUITE_P(
    SourceContract, CatalogHasEverythingComplete, CatalogSaysNothingWithoutAChange,
    CatalogIsToldAnewToWhoKnowsItFromAnotherSession, CatalogHidesWhatIsNotComplete,
    ShapeAgainstNothingIsFull, ShapeAgainstTheParentIsSmall, ShapeAgainstALaterVersion,
    ShapeIsNeverAgainstItself, ShapeEndsWithItsSink, PagesAreWhatTheirDigestsSay,
    UnknownDigestsAreNotFound, ExtentsAreTheFilesBytes, CompressedExtentsComeAsTheyAreOnTheDisk,
    AnExtentIsNotCutToGoAsItIs, ExtentsComeInAnyOrderAndPart, HolesAreSaidNotSent,
    BadExtentsAreInvalid, ExtentsEndWithTheirReceiver, TooMuchAtOnceIsRefused, ManyThreadsAskAtOnce,
    AStreamInFullHasEveryByte, AStreamAgainstAParentHasWhatIsDifferent,
    AStreamAgainstWhatTheSourceHasNotIsNotFound, AStreamEndsWithItsSinkAndTheSourceWorksOn);

}  // namespace icbd::source
