// A TCP proxy on 127.0.0.1 that does to connections what bad networks do to them.
//
// Lifecycle: start() listens; every connection that is accepted gets one to the server. The
// destructor ends all of them. The server may go away and come back meanwhile.
// Guarantees: thread-safe. An injected fault strikes once, at one byte of what passes in its
// direction, counted over all connections from inject() on. What the proxy does not mean to change,
// it does not change.
// Frames are those of src/wire (include/icbd/wire/frame.h), of which it knows the length field.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "icbd/base/error.h"

namespace icbd::harness {

// The client is who connects to the proxy.
enum class Direction : std::uint8_t { to_client, to_server };

enum class FaultKind : std::uint8_t {
  reset,         // RST to both sides, in the place of the byte
  truncate,      // end of stream to both sides, in the place of the byte
  flip_bit,      // the lowest bit of the byte
  repeat_bytes,  // `length` bytes before it come once more
  lose_bytes,    // `length` bytes from it on never come
  repeat_frame,  // the next frame comes twice
  lose_frame,    // the next frame never comes
  swap_frames,   // the next two frames of one connection change places
};
std::string to_string(FaultKind kind);

struct Fault {
  FaultKind kind = FaultKind::reset;
  Direction direction = Direction::to_client;
  std::uint64_t at = 0;      // how many bytes pass before it
  std::uint64_t length = 1;  // of repeat_bytes and lose_bytes
};

class FaultProxy {
 public:
  // `server` as "127.0.0.1:5010".
  static Result<std::unique_ptr<FaultProxy>> start(const std::string& server);
  ~FaultProxy();
  // Where it listens.
  const std::string& address() const { return address_; }

  // Replaces a fault that has not struck yet.
  void inject(const Fault& fault);
  // How many faults have struck.
  std::uint64_t struck() const;

  // Until they are set again:
  void set_slices(std::size_t most);                // pieces of 1 to `most` bytes; 0: as they come
  void set_delay(std::chrono::milliseconds delay);  // before every piece that is passed on
  void set_rate(std::uint64_t bytes_per_second);    // of each connection and direction; 0: any
  void set_black_hole(bool on);                     // accepts, reads and passes nothing on
  // RST to everybody who is connected.
  void reset_all();

  // What was passed on, to all connections together.
  std::uint64_t bytes(Direction direction) const;
  // How many connections were accepted, and how many of them have ended.
  std::uint64_t connections() const;
  std::uint64_t ended_connections() const;

 private:
  struct State;
  class Pump;
  FaultProxy();

  std::string address_;
  std::shared_ptr<State> state_;
};

}  // namespace icbd::harness
