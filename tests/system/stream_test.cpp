// Versions as send streams: from a real master, by curl and by icbd, into the stock tool and into
// icbd's own.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <array>

#include "icbd/base/file.h"

#include "harness/loopback.h"
#include "system/site.h"

namespace icbd::system_test {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class StreamSystemTest : public SiteTest {
 protected:
  void SetUp() override {
    SiteTest::SetUp();
    if (!site) return;
    change("head -c 20M /dev/urandom >disk.raw; mkdir boot; seq 1000 >boot/kernel; ln -s x link");
    ASSERT_DONE(site->publish("win11"));
    change("head -c 300k /dev/urandom | dd of=disk.raw bs=1M seek=3 conv=notrunc status=none");
    ASSERT_DONE(site->publish("win11"));
    change("cp --reflink=always disk.raw second.raw; rm link");
    ASSERT_DONE(site->publish("win11"));
  }

  std::string url(int version, const std::string& query = "") const {
    return fmt::format("http://{}/api/images/win11/versions/{}/stream?{}", site->master_rest(),
                       version, query);
  }
  // In the filesystem of the cache, which has nothing of the master's. $M is the master.
  harness::RunResult there(const std::string& script) const {
    const auto result = harness::run(
        {"bash", "-e", "-u", "-o", "pipefail", "-c",
         fmt::format("cd '{}'; M=http://{}; ICBD='{}/icbd'; export ICBD_SERVER=$M\n{}",
                     site->cache_root().string(), site->master_rest(), ICBD_PROGRAMS, script)});
    if (!result) return {.exit_code = -1, .output = result.error().message()};
    return *result;
  }
  std::string difference(const std::string& received, int version) const {
    return harness::diff_trees(site->master_version("win11", version),
                               site->cache_root() / received);
  }
  std::uint16_t port() const {
    const std::string& address = site->master_rest();
    return static_cast<std::uint16_t>(std::stoi(address.substr(address.find(':') + 1)));
  }
  // A connection on which a stream has begun to come.
  unique_fd begin_stream(int version) const {
    unique_fd socket = harness::connect_to(port());
    const std::string request = fmt::format(
        "GET /api/images/win11/versions/{}/stream HTTP/1.1\r\nHost: x\r\n\r\n", version);
    EXPECT_TRUE(write_all(socket.get(), as_bytes(request)));
    std::array<std::byte, 12> status{};
    EXPECT_TRUE(read_all(socket.get(), status));
    EXPECT_EQ(as_text(status), "HTTP/1.1 200");
    return socket;
  }
  // Descriptors that the master has of this version.
  std::size_t open_by_master(int version) const {
    const auto found =
        harness::shell(fmt::format("ls -l /proc/{}/fd | grep -c '{}$' || true", site->master().id(),
                                   site->master_version("win11", version).string()));
    return found ? std::stoul(found->output) : 0;
  }
};

TEST_F(StreamSystemTest, CurlAndTheStockReceiverAreEnough) {
  const auto done = there(R"(mkdir dir; U=$M/api/images/win11/versions
    curl -sSf $U/1/stream | btrfs receive dir
    curl -sSf "$U/2/stream?parent=1&proto=2" | btrfs receive dir
    curl -sSf "$U/latest/stream?parent=2&clone=1&compressed_data=1" | btrfs receive dir)");
  EXPECT_EQ(done.exit_code, 0) << done.output;
  for (const int version : {1, 2, 3})
    EXPECT_EQ(difference(fmt::format("dir/{}", version), version), "");
}

TEST_F(StreamSystemTest, IcbdSendsAndReceivesFromAfar) {
  const auto done = there(R"(mkdir dir
    $ICBD send win11@1 | $ICBD receive dir
    $ICBD send -p 1 win11@2 --compress zstd:1 -f packed
    zstd -q -t packed; $ICBD receive -f packed dir
    $ICBD send -p win11@2 -c 1 win11@latest --proto 0 --compress lz4 >packed.lz4
    lz4 -q -d -c <packed.lz4 | $ICBD receive dir)");
  EXPECT_EQ(done.exit_code, 0) << done.output;
  for (const int version : {1, 2, 3})
    EXPECT_EQ(difference(fmt::format("dir/{}", version), version), "");
  const auto size = there("wc -c <packed");
  EXPECT_LT(std::stoul(size.output), 1'000'000u) << "only what has changed";
}

TEST_F(StreamSystemTest, WhatCannotBeSentIsSaid) {
  struct Refusal {
    std::string path;
    std::string status;
  };
  const std::vector<Refusal> refusals = {
      {"win10/versions/1/stream", "404"},
      {"win11/versions/9/stream", "404"},
      {"win11/versions/2/stream?parent=7", "404"},
      {"win11/versions/2/stream?clone=stable", "404"},
      {"win11/versions/2/stream?parents=1", "400"},
      {"win11/versions/2/stream?proto=two", "400"},
      {"win11/versions/2/stream?no_data=yes", "400"},
      {"win11/versions/2/stream?proto=1&compressed_data=1", "400"},
      {"win11/versions/2/stream?proto=99", "501"},
  };
  for (const Refusal& refusal : refusals)
    EXPECT_EQ(
        there("curl -s -o answer -w '%{http_code}' \"$M/api/images/" + refusal.path + "\"").output,
        refusal.status)
        << refusal.path;
  const auto missing = there("$ICBD send win11@9 -f out");
  EXPECT_EQ(missing.exit_code, 4) << missing.output;
  EXPECT_THAT(missing.output, HasSubstr("there is no version win11@9"));
}

TEST_F(StreamSystemTest, AReaderThatLeavesLeavesNothingOpen) {
  EXPECT_EQ(open_by_master(1), 0u);
  unique_fd socket = begin_stream(1);
  EXPECT_GE(open_by_master(1), 1u);
  socket.reset();
  EXPECT_TRUE(Site::wait_until([&] { return open_by_master(1) == 0; }, "the stream's end"));
}

TEST_F(StreamSystemTest, AFewAtOnceAndFurtherOnesAreRefused) {
  std::vector<unique_fd> streams;
  for (int i = 0; i < 4; ++i) streams.push_back(begin_stream(1));
  EXPECT_EQ(
      there("curl -s -o answer -w '%{http_code}' $M/api/images/win11/versions/1/stream").output,
      "503");
  EXPECT_TRUE(site->ask_master("/api/status"));
  streams.clear();
  EXPECT_TRUE(Site::wait_until([&] { return there("$ICBD send win11@1 -f whole").exit_code == 0; },
                               "a free place"));
}

TEST_F(StreamSystemTest, AMasterThatDiesInTheMiddleHasNotSentAWholeStream) {
  const unique_fd socket = begin_stream(1);
  site->kill_master();
  std::string rest;
  std::array<char, 65536> buffer{};
  ssize_t got = 0;
  while ((got = ::read(socket.get(), buffer.data(), buffer.size())) > 0)
    rest.assign(buffer.data(), static_cast<std::size_t>(got));
  EXPECT_THAT(rest, Not(EndsWith("0\r\n\r\n")));

  ASSERT_DONE(site->start_master());
  unique_fd stopped = begin_stream(1);
  EXPECT_TRUE(site->stop_master()) << "a stream does not keep it";
}

}  // namespace
}  // namespace icbd::system_test
