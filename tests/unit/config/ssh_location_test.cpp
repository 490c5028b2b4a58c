#include "icbd/config/ssh_location.h"

#include <gtest/gtest.h>

namespace icbd::config {
namespace {

TEST(SshLocation, TakesAUserAPortAndAPathAsItStands) {
  EXPECT_EQ(parse_ssh_location("ssh://backup@disks.example:2222/srv/it's 50%").value(),
            (SshLocation{
                .user = "backup", .host = "disks.example", .port = 2222, .path = "/srv/it's 50%"}));
  EXPECT_EQ(parse_ssh_location("ssh://disks.example/srv").value(),
            (SshLocation{.user = "", .host = "disks.example", .port = 0, .path = "/srv"}));
  EXPECT_EQ(parse_ssh_location("ssh://root@[fd00::1]:22/").value(),
            (SshLocation{.user = "root", .host = "fd00::1", .port = 22, .path = "/"}));
}

TEST(SshLocation, WhatIsNoneIsRefused) {
  for (const char* const text :
       {"", "ssh://", "ssh:///srv", "disks.example:/srv", "ssh://disks.example", "ssh://@host/srv",
        "ssh://host:0/srv", "ssh://host:/srv", "ssh://host:70000/srv", "ssh://host:2x/srv",
        "ssh://-oProxyCommand/srv", "ssh://-x@host/srv", "ssh://a b@host/srv", "ssh://ho st/srv",
        "ssh://[fd00::1/srv", "ssh://[fd00::1]x/srv", "ssh://host/a\nb", "ssh://a:b@host/srv"}) {
    EXPECT_FALSE(parse_ssh_location(text)) << text;
  }
}

}  // namespace
}  // namespace icbd::config
