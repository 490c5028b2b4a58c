#include "icbd/rest/events.h"

#include <fmt/format.h>

#include <vector>

namespace icbd::rest {
namespace {

using nlohmann::json;

constexpr std::size_t line_bytes = 64 * 1024;

}  // namespace

void EventHub::announce(const Event& event) {
  // One line: JSON has no line feeds of its own when it is not indented.
  const auto text = std::make_shared<const std::string>(
      fmt::format("event: {}\ndata: {}\n\n", event.name,
                  event.data.dump(-1, ' ', false, json::error_handler_t::replace)));
  const std::lock_guard one_at_a_time(announcing_);
  std::vector<Listener> listeners;
  {
    const std::lock_guard lock(mutex_);
    last_ = text;
    listeners.reserve(listeners_.size());
    for (const auto& [id, listener] : listeners_) listeners.push_back(listener);
  }
  // Without mutex_: a listener whose end this call happens to be takes itself off the list.
  for (const Listener& listener : listeners) listener(text);
}

void EventHub::clear() {
  const std::lock_guard one_at_a_time(announcing_);
  const std::lock_guard lock(mutex_);
  listeners_.clear();
}

EventHub::Id EventHub::add(Listener listener) {
  const std::lock_guard lock(mutex_);
  if (last_) listener(last_);
  listeners_.emplace(next_, std::move(listener));
  return next_++;
}

void EventHub::remove(Id id) {
  const std::lock_guard lock(mutex_);
  listeners_.erase(id);
}

std::size_t EventHub::listeners() const {
  const std::lock_guard lock(mutex_);
  return listeners_.size();
}

bool EventParser::feed(std::string_view piece, const std::function<void(const Event&)>& received) {
  while (!piece.empty()) {
    const std::size_t end = piece.find('\n');
    if (line_.size() + std::min(end, piece.size()) > line_bytes) return false;
    line_.append(piece.substr(0, end));
    if (end == std::string_view::npos) return true;
    piece.remove_prefix(end + 1);
    take_line(line_, received);
    line_.clear();
  }
  return true;
}

void EventParser::take_line(std::string_view line,
                            const std::function<void(const Event&)>& received) {
  constexpr std::string_view name_field = "event: ", data_field = "data: ";
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (line.starts_with(name_field)) {
    name_ = line.substr(name_field.size());
  } else if (line.starts_with(data_field)) {
    data_ = line.substr(data_field.size());
  } else if (line.empty()) {
    const json data = json::parse(data_, nullptr, false);
    if (!name_.empty() && !data.is_discarded()) received({.name = name_, .data = data});
    name_.clear();
    data_.clear();
  }
}

}  // namespace icbd::rest
