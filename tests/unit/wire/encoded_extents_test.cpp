// Compressed extents of the master's filesystem over the wire.
#include <gtest/gtest.h>

#include <algorithm>

#include "icbd/base/limits.h"
#include "icbd/base/range_set.h"
#include "icbd/wire/remote_source.h"
#include "icbd/wire/server.h"

#include "fake_source.h"

namespace icbd::wire {
namespace {

using testing::FakeSource;

TEST(EncodedExtents, ComeAsTheyAreAndTheRestPlainly) {
  FakeSource fake;
  auto listening = listen_on("127.0.0.1:0");
  ASSERT_TRUE(listening) << listening.error().message();
  const std::string address = *bound_address(listening->get());
  Server server(std::move(*listening), fake, make_silent_logger());
  RemoteSource remote(tcp_connector(address, std::chrono::seconds(5)), {.node_name = "test"},
                      make_silent_logger());
  Bytes data(8192, std::byte{5});
  fake.encoded = {{.file = FileIndex(0),
                   .range = {limits::chunk_size - 4096, 65'536},
                   .unencoded_offset = 4096,
                   .unencoded_length = limits::extent_length,
                   .compression = 2,
                   .data = data}};
  RangeSet awaited;
  awaited.add({0, 4 * limits::chunk_size});
  std::vector<source::EncodedExtent> encoded;
  const Status done = remote.encoded_extents(
      fake.manifest, FakeSource::chunks(4),
      {.plain =
           [&](const source::ExtentData& part) {
             EXPECT_TRUE(std::ranges::equal(part.data, FakeSource::content(part.extent)));
             EXPECT_TRUE(awaited.remove(part.extent.range));
             return Status();
           },
       .encoded =
           [&](const source::EncodedExtent& extent) {
             encoded.push_back(extent);
             EXPECT_TRUE(awaited.remove(extent.range));
             return Status();
           }});
  ASSERT_TRUE(done) << done.error().message();
  EXPECT_TRUE(awaited.empty());
  ASSERT_EQ(encoded.size(), 1u);
  EXPECT_EQ(encoded.front().range, fake.encoded.front().range);
  EXPECT_TRUE(std::ranges::equal(encoded.front().data, data));
}

}  // namespace
}  // namespace icbd::wire
