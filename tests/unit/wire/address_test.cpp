#include "address.h"

#include <gtest/gtest.h>

#include "icbd/wire/remote_source.h"
#include "icbd/wire/server.h"

namespace icbd::wire {
namespace {

TEST(Address, IsHostAndPort) {
  const auto plain = parse_address("imgs.example:5010");
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->host, "imgs.example");
  EXPECT_EQ(plain->port, "5010");
  const auto bracketed = parse_address("[::1]:0");
  ASSERT_TRUE(bracketed);
  EXPECT_EQ(bracketed->host, "::1");
  EXPECT_EQ(bracketed->port, "0");
}

TEST(Address, RefusesWhatIsNotOne) {
  for (const std::string_view text : {"", "host", ":5010", "host:", "host:x", "host:65536",
                                      "host:-1", "host:50 10", "::1:5010", "[]:5010"}) {
    const auto address = parse_address(text);
    ASSERT_FALSE(address) << text;
    EXPECT_EQ(address.error().code(), ErrorCode::invalid_argument);
  }
}

TEST(Address, PortZeroTakesAFreePortThatCanBeConnectedTo) {
  const auto listening = listen_on("127.0.0.1:0");
  ASSERT_TRUE(listening) << listening.error().message();
  const auto address = bound_address(listening->get());
  ASSERT_TRUE(address);
  EXPECT_TRUE(address->starts_with("127.0.0.1:"));
  EXPECT_FALSE(address->ends_with(":0"));
  EXPECT_TRUE(tcp_connector(*address, std::chrono::seconds(5))());
}

TEST(Address, ATakenPortIsNamedInTheError) {
  const auto listening = listen_on("127.0.0.1:0");
  const auto address = bound_address(listening->get());
  const auto second = listen_on(*address);
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().message().find(*address), std::string::npos);
}

TEST(Address, ConnectingWhereNobodyListensIsUnavailable) {
  std::string address;
  {
    const auto listening = listen_on("127.0.0.1:0");
    address = *bound_address(listening->get());
  }
  const auto socket = tcp_connector(address, std::chrono::seconds(5))();
  ASSERT_FALSE(socket);
  EXPECT_EQ(socket.error().code(), ErrorCode::unavailable);
  EXPECT_NE(socket.error().message().find(address), std::string::npos);
}

}  // namespace
}  // namespace icbd::wire
