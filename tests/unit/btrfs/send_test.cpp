#include "icbd/btrfs/send.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <string>

#include "icbd/base/file.h"
#include "icbd/btrfs/subvolume.h"

#include "harness/loop_btrfs.h"

namespace icbd::btrfs {
namespace {

constexpr std::string_view stream_magic("btrfs-stream\0", 13);
constexpr std::size_t mebibyte = 1024 * 1024;

class SendTest : public harness::BtrfsTest {
 protected:
  void SetUp() override {
    BtrfsTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    ASSERT_TRUE(create_subvolume(path() / "live"));
  }

  void write_file(const std::string& name, std::string_view content, std::uint64_t offset = 0) {
    const auto file = open_file(path() / "live" / name, O_RDWR | O_CREAT, 0600);
    ASSERT_TRUE(file);
    ASSERT_TRUE(write_at(file->get(), as_bytes(content), offset));
  }

  unique_fd snapshot(const std::string& name) {
    EXPECT_TRUE(create_snapshot(path() / "live", path() / name, true));
    auto root = open_file(path() / name, O_RDONLY | O_DIRECTORY);
    EXPECT_TRUE(root);
    return std::move(*root);
  }

  static Bytes bytes_of(int root_fd, const SendOptions& options) {
    Bytes bytes;
    const Status done = send(root_fd, options, [&](ByteView piece) -> Status {
      bytes.insert(bytes.end(), piece.begin(), piece.end());
      return {};
    });
    EXPECT_TRUE(done) << done.error().message();
    return bytes;
  }

  static Result<Bytes> stream(int root_fd, int parent_root_fd) {
    Bytes bytes;
    const Status sent = send_shape(root_fd, parent_root_fd, [&](ByteView piece) -> Status {
      bytes.insert(bytes.end(), piece.begin(), piece.end());
      return {};
    });
    if (!sent) return std::unexpected(sent.error());
    return bytes;
  }
};

TEST_F(SendTest, AShapeCarriesNoData) {
  write_file("disk", std::string(8 * mebibyte, 'x'));
  const unique_fd first = snapshot("1");
  const auto full = stream(first.get(), -1);
  ASSERT_TRUE(full) << full.error().message();
  EXPECT_TRUE(as_text(*full).starts_with(stream_magic));
  EXPECT_LT(full->size(), 64 * 1024u);
}

TEST_F(SendTest, AnIncrementalShapeNamesTheChangeOnly) {
  write_file("disk", std::string(8 * mebibyte, 'x'));
  write_file("other", "unchanged");
  const unique_fd first = snapshot("1");
  write_file("disk", std::string(4096, 'y'), mebibyte);
  const unique_fd second = snapshot("2");
  const auto change = stream(second.get(), first.get());
  ASSERT_TRUE(change) << change.error().message();
  EXPECT_NE(as_text(*change).find("disk"), std::string_view::npos);
  EXPECT_EQ(as_text(*change).find("other"), std::string_view::npos);
  EXPECT_LT(change->size(), 4096u);
}

TEST_F(SendTest, AFullSendCarriesTheDataAndAnIncrementalOneWhatIsNew) {
  write_file("disk", std::string(8 * mebibyte, 'x'));
  const unique_fd first = snapshot("1");
  write_file("disk", std::string(4096, 'y'), mebibyte);
  const unique_fd second = snapshot("2");
  EXPECT_GT(bytes_of(first.get(), {}).size(), 8 * mebibyte);
  const Bytes difference = bytes_of(second.get(), {.parent_root_fd = first.get()});
  EXPECT_NE(as_text(difference).find(std::string(4096, 'y')), std::string_view::npos);
  EXPECT_LT(difference.size(), 16 * 1024u);
}

TEST_F(SendTest, WhatACloneSourceSharesIsNamedAndNotSent) {
  write_file("disk", std::string(8 * mebibyte, 'x'));
  const unique_fd first = snapshot("1");
  const unique_fd second = snapshot("2");
  EXPECT_GT(bytes_of(second.get(), {}).size(), 8 * mebibyte);
  EXPECT_LT(bytes_of(second.get(), {.clone_root_fds = {first.get()}}).size(), 64 * 1024u);
}

TEST_F(SendTest, TwoSubvolumesCanShareOneStream) {
  write_file("disk", "content");
  const unique_fd first = snapshot("1");
  write_file("disk", "other content");
  const unique_fd second = snapshot("2");
  const Bytes begun = bytes_of(first.get(), {.omit_end = true});
  const Bytes ended = bytes_of(second.get(), {.omit_stream_header = true});
  EXPECT_TRUE(as_text(begun).starts_with(stream_magic));
  EXPECT_EQ(as_text(ended).find(stream_magic), std::string_view::npos);
  // An end command: no attributes, type 21.
  constexpr std::string_view end("\0\0\0\0\x15\0", 6);
  EXPECT_EQ(as_text(begun).rfind(end), std::string_view::npos);
  EXPECT_EQ(as_text(ended).rfind(end), ended.size() - 10);
}

TEST_F(SendTest, AProtocolThatTheKernelDoesNotKnowIsSaid) {
  const unique_fd root = snapshot("1");
  const auto ignore = [](ByteView) -> Status { return {}; };
  EXPECT_EQ(send(root.get(), {.protocol = 99}, ignore).error().code(), ErrorCode::unsupported);
  EXPECT_EQ(send(root.get(), {.protocol = 1, .compressed_data = true}, ignore).error().code(),
            ErrorCode::invalid_argument);
  EXPECT_TRUE(send(root.get(), {.protocol = 0, .compressed_data = true}, ignore));
}

TEST_F(SendTest, AWritableSubvolumeIsRefused) {
  const auto live = open_file(path() / "live", O_RDONLY | O_DIRECTORY);
  const auto sent = stream(live->get(), -1);
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code(), ErrorCode::permission_denied);
}

// More than a pipe holds, so that the kernel still writes when the sink gives up.
TEST_F(SendTest, ASinkThatGivesUpEndsTheSend) {
  for (int file = 0; file < 20'000; ++file) write_file("file" + std::to_string(file), "");
  const unique_fd root = snapshot("1");
  std::size_t received = 0;
  const Status sent = send_shape(root.get(), -1, [&](ByteView piece) -> Status {
    received += piece.size();
    return fail(ErrorCode::cancelled, "enough");
  });
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code(), ErrorCode::cancelled);
  const auto whole = stream(root.get(), -1);
  ASSERT_TRUE(whole);
  EXPECT_GT(whole->size(), received + 2 * mebibyte);
}

TEST_F(SendTest, GoesIntoASocketAsItIs) {
  write_file("disk", "content");
  const unique_fd root = snapshot("1");
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  unique_fd reader(ends[0]);
  unique_fd writer(ends[1]);
  ASSERT_TRUE(send_shape(root.get(), -1, writer.get()));
  writer.reset();
  const auto expected = stream(root.get(), -1);
  ASSERT_TRUE(expected);
  Bytes received(expected->size());
  ASSERT_TRUE(read_all(reader.get(), received));
  EXPECT_EQ(received, *expected);
}

TEST_F(SendTest, AFailedSendIsReportedThroughTheSinkToo) {
  const unique_fd root = snapshot("1");
  const auto live = open_file(path() / "live", O_RDONLY | O_DIRECTORY);
  EXPECT_FALSE(stream(root.get(), live->get())) << "a writable parent";
}

}  // namespace
}  // namespace icbd::btrfs
