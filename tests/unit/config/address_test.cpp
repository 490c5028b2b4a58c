#include "address.h"

#include <gtest/gtest.h>

#include <string>

namespace icbd::config {
namespace {

TEST(Address, IsHostAndPort) {
  for (const char* address : {"127.0.0.1:5009", "localhost:1", "[::1]:65535", "[fe80::1]:80",
                              "imgs.example:5010", "node_1-b:5010"})
    EXPECT_EQ(address_fault(address, false), "") << address;
  for (const std::string address : {"",
                                    ":",
                                    "5009",
                                    ":5009",
                                    "localhost",
                                    "localhost:",
                                    "localhost:port",
                                    "localhost:65536",
                                    "localhost:-1",
                                    "localhost:+1",
                                    "localhost: 1",
                                    "local host:1",
                                    "::1:5009",
                                    "[::1]",
                                    "[::1:5009",
                                    "[]:5009",
                                    "[nonsense]:5009",
                                    "http://imgs.example:5009",
                                    "a/b:1",
                                    "*:5009"})
    EXPECT_NE(address_fault(address, false), "") << address;
  EXPECT_NE(address_fault(std::string(300, 'h') + ":1", false), "");
}

TEST(Address, HasPortZeroForListeningOnly) {
  EXPECT_EQ(address_fault("127.0.0.1:0", true), "");
  EXPECT_NE(address_fault("127.0.0.1:0", false), "");
}

TEST(Address, KnowsLoopback) {
  for (const char* address : {"127.0.0.1:0", "127.1.2.3:1", "localhost:1", "[::1]:1"})
    EXPECT_TRUE(is_loopback(address)) << address;
  for (const char* address : {"0.0.0.0:1", "[::]:1", "192.168.1.1:1", "128.0.0.1:1",
                              "imgs.example:1", "127.0.0.1.example:1", "localhost.example:1"})
    EXPECT_FALSE(is_loopback(address)) << address;
}

}  // namespace
}  // namespace icbd::config
