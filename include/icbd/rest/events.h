// Announcements to whoever listens, as server-sent events
// (https://html.spec.whatwg.org/multipage/server-sent-events.html).
//
// Purpose: "something has changed, up to this number": a listener then compares what it knows. An
// announcement that comes while the one before is still being sent replaces it, so that a slow
// listener costs one message of memory and never holds up anybody; nothing is lost by that,
// because each says everything.
// Lifecycle: the hub outlives the servers that use it. A new listener is told the last
// announcement first. Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>

namespace icbd::rest {

struct Event {
  std::string name;  // "catalog"
  nlohmann::json data;
};

class EventHub {
 public:
  // Called with what is to be sent, on the thread that announces; must not call the hub.
  using Listener = std::function<void(std::shared_ptr<const std::string> text)>;
  using Id = std::uint64_t;

  void announce(const Event& event);
  Id add(Listener listener);
  // May still be called once, by an announcement under way.
  void remove(Id id);
  // Forgets all. When it returns, none is being called.
  void clear();
  std::size_t listeners() const;

 private:
  std::mutex announcing_;     // announcements one after another; taken before mutex_
  mutable std::mutex mutex_;  // guards what is below
  std::map<Id, Listener> listeners_;
  std::shared_ptr<const std::string> last_;
  Id next_ = 1;
};

// What a server sends when there is nothing to announce, so that both ends notice a peer that is
// gone: a comment, which is no event.
inline constexpr std::string_view event_keepalive = ":\n\n";

// Takes a stream apart, however it is cut into pieces. Pure. A line longer than 64 KiB ends in
// false: this is not our server.
class EventParser {
 public:
  bool feed(std::string_view piece, const std::function<void(const Event&)>& received);

 private:
  void take_line(std::string_view line, const std::function<void(const Event&)>& received);
  std::string line_;
  std::string name_;
  std::string data_;
};

}  // namespace icbd::rest
