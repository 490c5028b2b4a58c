#include "frame_socket.h"

#include <gtest/gtest.h>

#include <thread>

#include "sockets.h"

namespace icbd::wire {
namespace {

// A FrameSocket at one end of a socket pair, a bare descriptor at the other.
struct FrameSocketTest : ::testing::Test {
  FrameSocketTest() {
    auto [ours, theirs] = testing::socket_pair();
    frames = std::make_unique<FrameSocket>(std::move(ours), traffic.counters());
    peer = std::move(theirs);
  }
  void peer_sends(ByteView bytes) { ASSERT_TRUE(write_all(peer.get(), bytes)); }
  void expect_refused(ErrorCode code, std::string_view words) {
    const auto frame = frames->receive();
    ASSERT_FALSE(frame);
    EXPECT_EQ(frame.error().code(), code) << frame.error().message();
    EXPECT_NE(frame.error().message().find(words), std::string::npos) << frame.error().message();
  }

  testing::Traffic traffic;
  std::unique_ptr<FrameSocket> frames;
  unique_fd peer;
  const Bytes payload = testing::copy_of("payload");
};

TEST_F(FrameSocketTest, FramesArriveWholeAndNumbered) {
  auto other_traffic = std::make_unique<testing::Traffic>();
  FrameSocket other(std::move(peer), other_traffic->counters());
  for (std::uint32_t i = 0; i < 3; ++i) {
    ASSERT_TRUE(frames->send({.type = FrameType::pages, .request_id = i}, payload));
    const auto frame = other.receive();
    ASSERT_TRUE(frame) << frame.error().message();
    EXPECT_EQ(frame->header.type, FrameType::pages);
    EXPECT_EQ(frame->header.request_id, i);
    EXPECT_EQ(frame->header.sequence, i);
    EXPECT_TRUE(std::ranges::equal(frame->payload, payload));
  }
  EXPECT_EQ(traffic.sent, 3 * (frame_header_size + payload.size()));
  EXPECT_EQ(other_traffic->received, traffic.sent);
}

TEST_F(FrameSocketTest, ManyPiecesAreOnePayload) {
  FrameSocket other(std::move(peer), traffic.counters());
  std::vector<ByteView> pieces(1500, payload);  // more than one sendmsg(2) takes
  std::thread sender(
      [&] { EXPECT_TRUE(frames->send({.type = FrameType::extents_reply}, pieces)); });
  const auto frame = other.receive();
  sender.join();
  ASSERT_TRUE(frame) << frame.error().message();
  EXPECT_EQ(frame->payload.size(), 1500 * payload.size());
  EXPECT_TRUE(std::ranges::equal(frame->payload.last(payload.size()), payload));
}

TEST_F(FrameSocketTest, RefusesToSendMoreThanAFrameHolds) {
  const Bytes large(limits::frame_payload + 1);
  const Status sent = frames->send({.type = FrameType::shape_data}, large);
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code(), ErrorCode::too_large);
}

TEST_F(FrameSocketTest, RefusesGarbage) {
  peer_sends(Bytes(100, std::byte{0xAB}));
  expect_refused(ErrorCode::corrupt, "not with \"icbd\"");
}

TEST_F(FrameSocketTest, RefusesAChangedPayload) {
  Bytes bytes = testing::raw_frame({.type = FrameType::pages}, payload);
  bytes.back() ^= std::byte{1};
  peer_sends(bytes);
  expect_refused(ErrorCode::corrupt, "checksum");
}

TEST_F(FrameSocketTest, RefusesALengthOfFourGigabytesWithoutWaitingForThem) {
  Bytes bytes = testing::raw_frame({.type = FrameType::pages}, payload);
  std::ranges::fill(std::span(bytes).subspan(8, 8), std::byte{0xFF});  // both lengths
  peer_sends(bytes);
  expect_refused(ErrorCode::corrupt, "4294967295");
}

TEST_F(FrameSocketTest, RefusesARepeatedFrame) {
  const Bytes bytes = testing::raw_frame({.type = FrameType::pages}, payload);
  peer_sends(bytes);
  peer_sends(bytes);
  ASSERT_TRUE(frames->receive());
  expect_refused(ErrorCode::corrupt, "lost or repeated");
}

TEST_F(FrameSocketTest, RefusesAFrameOutOfSequence) {
  peer_sends(testing::raw_frame({.type = FrameType::pages, .sequence = 1}, payload));
  expect_refused(ErrorCode::corrupt, "frame 1 came where frame 0 was due");
}

TEST_F(FrameSocketTest, TellsAClosedConnectionFromOneCutWithinAFrame) {
  peer.reset();
  expect_refused(ErrorCode::unavailable, "the peer closed the connection");

  auto [ours, theirs] = testing::socket_pair();
  frames = std::make_unique<FrameSocket>(std::move(ours), traffic.counters());
  peer = std::move(theirs);
  const Bytes bytes = testing::raw_frame({.type = FrameType::pages}, payload);
  peer_sends(ByteView(bytes).first(bytes.size() - 3));
  peer.reset();
  expect_refused(ErrorCode::unavailable, "within a frame");
}

TEST_F(FrameSocketTest, SendingToAPeerThatIsGoneIsAnErrorAndNoSignal) {
  peer.reset();
  EXPECT_FALSE(frames->send({.type = FrameType::pages}, payload));
}

TEST_F(FrameSocketTest, ATimeoutEndsReceivingAndSending) {
  ASSERT_TRUE(frames->set_receive_timeout(std::chrono::milliseconds(20)));
  expect_refused(ErrorCode::timed_out, "sends nothing");
  frames->set_send_timeout(std::chrono::milliseconds(20));
  const Bytes large(limits::frame_payload);
  const Status sent = frames->send({.type = FrameType::shape_data}, large);
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code(), ErrorCode::timed_out);
}

TEST_F(FrameSocketTest, ShutDownWakesAReceiver) {
  std::thread receiver([&] { EXPECT_FALSE(frames->receive()); });
  frames->shut_down();
  receiver.join();
}

}  // namespace
}  // namespace icbd::wire
