#include "icbd/base/service_manager.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>

#include "icbd/base/unique_fd.h"

namespace icbd {
namespace {

// Plays systemd: an abstract datagram socket, named in the environment.
struct ServiceManager : ::testing::Test {
  ServiceManager() : socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    const std::string name = "@icbd-notify-test-" + std::to_string(getpid());
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path + 1, name.data() + 1, name.size() - 1);
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    EXPECT_EQ(bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), length), 0);
    setenv("NOTIFY_SOCKET", name.c_str(), 1);
  }
  ~ServiceManager() override { unsetenv("NOTIFY_SOCKET"); }
  unique_fd socket;
};

TEST_F(ServiceManager, IsToldTheState) {
  const Status told = notify_service_manager("READY=1");
  ASSERT_TRUE(told) << told.error().message();
  char buffer[100];
  const ssize_t got = recv(socket.get(), buffer, sizeof buffer, 0);
  ASSERT_GT(got, 0);
  EXPECT_EQ(std::string_view(buffer, static_cast<std::size_t>(got)), "READY=1");
}

TEST_F(ServiceManager, ThatIsGoneIsAnError) {
  socket.reset();
  EXPECT_FALSE(notify_service_manager("READY=1"));
}

TEST_F(ServiceManager, IsGivenADescriptorToKeep) {
  const unique_fd file(memfd_create("kept", MFD_CLOEXEC));
  ASSERT_EQ(write(file.get(), "content", 7), 7);
  const Status kept = keep_descriptor("mount", file.get());
  ASSERT_TRUE(kept) << kept.error().message();
  char text[100];
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  iovec data{.iov_base = text, .iov_len = sizeof text};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t got = recvmsg(socket.get(), &message, MSG_CMSG_CLOEXEC);
  ASSERT_GT(got, 0);
  EXPECT_EQ(std::string_view(text, static_cast<std::size_t>(got)),
            "FDSTORE=1\nFDPOLL=0\nFDNAME=mount");
  const cmsghdr* const header = CMSG_FIRSTHDR(&message);
  ASSERT_NE(header, nullptr);
  ASSERT_EQ(header->cmsg_type, SCM_RIGHTS);
  int descriptor = -1;
  std::memcpy(&descriptor, CMSG_DATA(header), sizeof descriptor);
  const unique_fd copy(descriptor);
  EXPECT_EQ(pread(copy.get(), text, sizeof text, 0), 7);
}

TEST_F(ServiceManager, WhatIsNoDescriptorIsNotKept) {
  EXPECT_FALSE(keep_descriptor("mount", 99999));
}

// Sets what systemd sets for a service with WatchdogSec=, and removes it.
struct Watchdog : ::testing::Test {
  ~Watchdog() override {
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
  }
};

TEST_F(Watchdog, IsForWhoItNames) {
  using namespace std::chrono_literals;
  EXPECT_EQ(watchdog_timeout(), std::nullopt);
  setenv("WATCHDOG_USEC", "30000000", 1);
  EXPECT_EQ(watchdog_timeout(), 30s);
  setenv("WATCHDOG_PID", std::to_string(getpid()).c_str(), 1);
  EXPECT_EQ(watchdog_timeout(), 30s);
  setenv("WATCHDOG_PID", "1", 1);
  EXPECT_EQ(watchdog_timeout(), std::nullopt) << "a parent's, inherited";
}

TEST_F(Watchdog, ThatIsNoTimeIsNone) {
  for (const char* value : {"", "0", "-1", "soon", "30s", "18446744073709551615"}) {
    setenv("WATCHDOG_USEC", value, 1);
    EXPECT_EQ(watchdog_timeout(), std::nullopt) << value;
  }
}

TEST(ServiceManagerAbsent, NothingIsSaid) {
  unsetenv("NOTIFY_SOCKET");
  EXPECT_TRUE(notify_service_manager("READY=1"));
}

}  // namespace
}  // namespace icbd
