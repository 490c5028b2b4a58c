#include "icbd/base/file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <thread>

#include "harness/temporary_directory.h"

namespace icbd {
namespace {

using ::testing::HasSubstr;

class FileTest : public ::testing::Test {
 protected:
  Bytes content() { return read_file(file_, 1 << 20).value(); }

  harness::TemporaryDirectory directory_ = harness::TemporaryDirectory::create().value();
  std::filesystem::path file_ = directory_.path() / "file";
};

TEST_F(FileTest, OpensAreClosedOnExecAndNameThePath) {
  const auto file = open_file(file_, O_RDWR | O_CREAT, 0600);
  ASSERT_TRUE(file);
  EXPECT_EQ(fcntl(file->get(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  const auto missing = open_file(directory_.path() / "missing", O_RDONLY);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), ErrorCode::not_found);
  EXPECT_THAT(missing.error().message(), HasSubstr((directory_.path() / "missing").string()));
}

TEST_F(FileTest, ReadsEndAtTheEndOfTheFile) {
  const auto file = open_file(file_, O_RDWR | O_CREAT, 0600).value();
  ASSERT_TRUE(write_at(file.get(), as_bytes("0123456789"), 0));
  Bytes buffer(4);
  EXPECT_EQ(read_at(file.get(), buffer, 3).value(), 4u);
  EXPECT_EQ(as_text(buffer), "3456");
  EXPECT_EQ(read_at(file.get(), buffer, 8).value(), 2u);
  EXPECT_EQ(read_at(file.get(), buffer, 100).value(), 0u);
  EXPECT_TRUE(read_exactly_at(file.get(), buffer, 6));
  EXPECT_EQ(read_exactly_at(file.get(), buffer, 7).error().code(), ErrorCode::corrupt);
}

TEST_F(FileTest, WholeFilesAreHeldAgainstTheLimit) {
  ASSERT_TRUE(replace_file(file_, as_bytes("12345")));
  EXPECT_EQ(as_text(read_file(file_, 5).value()), "12345");
  EXPECT_EQ(read_file(file_, 4).error().code(), ErrorCode::too_large);
  EXPECT_EQ(read_file(directory_.path() / "missing", 4).error().code(), ErrorCode::not_found);
}

TEST_F(FileTest, ReplacingPutsTheNewContentInTheOldPlace) {
  ASSERT_TRUE(replace_file(file_, as_bytes("a long first content")));
  const auto reader = open_file(file_, O_RDONLY).value();
  ASSERT_TRUE(replace_file(file_, as_bytes("second")));
  EXPECT_EQ(as_text(content()), "second");
  // Who has the old one open keeps it: nothing was written into it.
  Bytes old(20);
  EXPECT_EQ(read_at(reader.get(), old, 0).value(), 20u);
  EXPECT_EQ(as_text(old), "a long first content");
  struct stat status{};
  ASSERT_EQ(stat(file_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
}

TEST_F(FileTest, ReplacingGoesOnFromACrashInTheMiddle) {
  ASSERT_TRUE(replace_file(file_, as_bytes("old")));
  std::filesystem::path half_written = file_;
  half_written += ".new";
  ASSERT_TRUE(replace_file(half_written, as_bytes("the longer half of something")));
  EXPECT_EQ(as_text(content()), "old");
  ASSERT_TRUE(replace_file(file_, as_bytes("new")));
  EXPECT_EQ(as_text(content()), "new");
  EXPECT_FALSE(std::filesystem::exists(half_written));
}

TEST_F(FileTest, ReplacingNeedsTheDirectory) {
  const Status replaced = replace_file(directory_.path() / "missing" / "file", as_bytes("x"));
  ASSERT_FALSE(replaced);
  EXPECT_EQ(replaced.error().code(), ErrorCode::not_found);
}

struct SocketPair {
  SocketPair() {
    int fds[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    near = unique_fd(fds[0]);
    far = unique_fd(fds[1]);
  }
  unique_fd near, far;
};

TEST(Connection, CarriesMoreThanItsBufferHolds) {
  SocketPair sockets;
  Bytes sent(4 * 1024 * 1024);
  for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<std::byte>(i * 7 >> 3);
  const std::jthread writer([&] { EXPECT_TRUE(write_all(sockets.near.get(), sent)); });
  Bytes received(sent.size());
  EXPECT_TRUE(read_all(sockets.far.get(), received));
  EXPECT_EQ(received, sent);
}

TEST(Connection, SaysThatThePeerClosedIt) {
  SocketPair sockets;
  ASSERT_TRUE(write_all(sockets.near.get(), as_bytes("abc")));
  sockets.near.reset();
  Bytes buffer(4);
  const Status read = read_all(sockets.far.get(), buffer);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code(), ErrorCode::unavailable);
}

TEST(Connection, ReturnsABrokenPipeInsteadOfRaisingSigpipe) {
  SocketPair sockets;
  sockets.far.reset();
  const Status written = write_all(sockets.near.get(), as_bytes("abc"));
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().errno_value(), EPIPE);
  EXPECT_EQ(written.error().code(), ErrorCode::unavailable);
}

TEST(Connection, MayBeAPipe) {
  int fds[2];
  ASSERT_EQ(pipe2(fds, O_CLOEXEC), 0);
  const unique_fd out(fds[0]), in(fds[1]);
  ASSERT_TRUE(write_all(in.get(), as_bytes("abc")));
  Bytes buffer(3);
  ASSERT_TRUE(read_all(out.get(), buffer));
  EXPECT_EQ(as_text(buffer), "abc");
}

}  // namespace
}  // namespace icbd
