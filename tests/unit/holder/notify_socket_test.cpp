#include "notify_socket.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "icbd/base/service_manager.h"

namespace icbd::holder {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

TEST(Assignments, AreLinesOfNameAndValue) {
  EXPECT_THAT(parse_assignments("READY=1\nSTATUS=a=b c\nX="),
              ElementsAre(Pair("READY", "1"), Pair("STATUS", "a=b c"), Pair("X", "")));
  EXPECT_THAT(parse_assignments("\n\nnonsense\n=value\nA=1\n"), ElementsAre(Pair("A", "1")));
  EXPECT_THAT(parse_assignments(""), IsEmpty());
}

class NotifySocketTest : public ::testing::Test {
 protected:
  void SetUp() override { ::setenv("NOTIFY_SOCKET", socket_.name().c_str(), 1); }
  void TearDown() override { ::unsetenv("NOTIFY_SOCKET"); }

  const NotifySocket socket_ = NotifySocket::open().value();
};

TEST_F(NotifySocketTest, ReceivesWhatTheProcessSays) {
  EXPECT_FALSE(socket_.receive());
  ASSERT_TRUE(notify_service_manager("READY=1\nSTATUS=fine"));
  const auto message = socket_.receive();
  ASSERT_TRUE(message);
  EXPECT_EQ(message->value("STATUS"), "fine");
  EXPECT_TRUE(message->has("READY"));
  EXPECT_FALSE(message->has("STOPPING"));
  EXPECT_EQ(message->value("STOPPING"), "");
  EXPECT_FALSE(message->descriptor);
  EXPECT_FALSE(socket_.receive());
}

TEST_F(NotifySocketTest, ReceivesADescriptor) {
  const unique_fd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(keep_descriptor("null", file.get()));
  const auto message = socket_.receive();
  ASSERT_TRUE(message);
  EXPECT_EQ(message->value("FDNAME"), "null");
  ASSERT_TRUE(message->descriptor);
  EXPECT_NE(message->descriptor.get(), file.get());
  EXPECT_EQ(::fcntl(message->descriptor.get(), F_GETFD), FD_CLOEXEC);
}

TEST_F(NotifySocketTest, SaysWhoseAMessageIs) {
  const unique_fd before(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const pid_t other = ::fork();
  if (other == 0) ::_exit(keep_descriptor("null", before.get()) ? 0 : 1);
  int status = -1;
  ASSERT_EQ(::waitpid(other, &status, 0), other);
  ASSERT_EQ(status, 0);
  ASSERT_TRUE(notify_service_manager("READY=1"));
  {
    const auto others = socket_.receive();
    ASSERT_TRUE(others);
    EXPECT_EQ(others->sender, other);
    EXPECT_TRUE(others->descriptor);
  }
  const auto message = socket_.receive();
  ASSERT_TRUE(message);
  EXPECT_EQ(message->sender, ::getpid());
  EXPECT_TRUE(message->has("READY"));
  const unique_fd after(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(after.get(), before.get() + 1) << "a descriptor was left open";
}

TEST_F(NotifySocketTest, AMessageThatIsTooLongIsDroppedAndNotCut) {
  ASSERT_TRUE(notify_service_manager("STATUS=" + std::string(10'000, 'x')));
  ASSERT_TRUE(notify_service_manager("READY=1"));
  const auto message = socket_.receive();
  ASSERT_TRUE(message);
  EXPECT_THAT(message->assignments, ElementsAre(Pair("READY", "1")));
}

}  // namespace
}  // namespace icbd::holder
