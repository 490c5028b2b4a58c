#include "open_nodes.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "icbd/fs/node_id.h"

#include "kernel_interface.h"

namespace icbd::fs {
namespace {

constexpr unsigned slot_bits = 20;
static_assert(ConnectionMemory::most_handles == 1u << slot_bits);

constexpr std::uint64_t slot_mask = ConnectionMemory::most_handles - 1;

// The kernel's number of a handle: its slot, and what tells it from others that had the slot.
constexpr std::uint64_t handle_number(std::uint32_t slot, std::uint64_t unique) {
  return ((unique >> kernel::unique_step_bits) << slot_bits) | slot;
}

VersionSerial serial_of(std::uint64_t node) {
  const auto decoded = decode(node);
  return decoded ? decoded->serial : VersionSerial();
}

}  // namespace

OpenNodes::OpenNodes(ConnectionMemory& memory, BackingFiles& backings, Logger logger)
    : memory_(memory), backings_(backings), logger_(std::move(logger)) {
  take_over();
}

// What the process before us was killed over: it had given it back in the memory but perhaps not to
// the kernel, or the other way round. The kernel numbers them one after the other (idr_alloc_cyclic
// in fs/fuse), so that one whose number was never written down is the next, or close behind if
// several processes were killed there.
void OpenNodes::give_back_lost_backings() {
  constexpr std::uint32_t most_lost = 4;
  ConnectionMemory::Header& header = memory_.header();
  std::unordered_set<std::uint64_t> known;
  for (ConnectionMemory::Backing& backing : memory_.backings().first(header.backings_used)) {
    if (backing.id != 0) known.insert(backing.id);
    if (backing.id == 0 || backing.node != 0) continue;
    const auto id = static_cast<std::uint32_t>(backing.id);
    backings_.remove_if_there(id);
    header.last_backing = std::max(header.last_backing, id);
    backing.id = 0;
  }
  if (header.adding_backing == 0) return;
  const std::uint32_t last = header.last_backing;
  for (std::uint32_t id = last + 1; id <= last + most_lost; ++id)
    if (!known.contains(id) && backings_.remove_if_there(id)) header.last_backing = id;
  header.adding_backing.store(0, std::memory_order_release);
}

void OpenNodes::take_over() {
  give_back_lost_backings();
  const auto backings = memory_.backings();
  for (std::uint32_t slot = memory_.header().backings_used; slot-- > 0;) {
    if (const std::uint64_t node = backings[slot].node; node != 0)
      nodes_[node].backing_slot = slot;
    else
      free_backings_.push_back(slot);
  }
  const auto handles = memory_.handles();
  for (std::uint32_t slot = memory_.header().handles_used; slot-- > 0;) {
    const std::uint64_t node = handles[slot].node;
    if (node == 0) {
      free_handles_.push_back(slot);
      continue;
    }
    ++nodes_[node].handles;
    ++handles_of_[serial_of(node)];
    given_before_.emplace(handles[slot].unique, slot);
  }
  for (auto& [number, node] : nodes_)
    if (node.handles == 0) node.idle = idle_.insert(idle_.end(), number);
}

std::optional<OpenNodes::Opened> OpenNodes::opened_before(std::uint64_t node,
                                                          std::uint64_t unique) const {
  if ((unique & kernel::unique_resend) == 0) return std::nullopt;
  const std::uint64_t request = unique & ~kernel::unique_resend;
  const auto given = given_before_.find(request);
  if (given == given_before_.end()) return std::nullopt;
  const ConnectionMemory::Handle& handle = memory_.handles()[given->second];
  if (handle.node != node || handle.unique != request) return std::nullopt;
  const Node& open = nodes_.at(node);
  Opened opened{.handle = handle_number(given->second, request),
                .backing = std::nullopt,
                .given_before = true};
  if (open.backing_slot)
    opened.backing = static_cast<std::uint32_t>(memory_.backings()[*open.backing_slot].id);
  return opened;
}

// The handle's slot is whole before its node says that it is taken.
Result<std::uint64_t> OpenNodes::add_handle(std::uint64_t node, std::uint64_t unique) {
  ConnectionMemory::Header& header = memory_.header();
  std::uint32_t slot = 0;
  if (!free_handles_.empty()) {
    slot = free_handles_.back();
    free_handles_.pop_back();
  } else if (header.handles_used < ConnectionMemory::most_handles) {
    slot = header.handles_used++;
  } else {
    return fail_errno("open a file: too many are open in the view", ENFILE);
  }
  const std::uint64_t request = unique & ~kernel::unique_resend;
  ConnectionMemory::Handle& handle = memory_.handles()[slot];
  handle.unique = request;
  handle.node.store(node, std::memory_order_release);
  ++handles_of_[serial_of(node)];
  return handle_number(slot, request);
}

Result<OpenNodes::Opened> OpenNodes::open_in(Nodes::iterator found, std::uint64_t unique) {
  Node& node = found->second;
  ICBD_ASSIGN(const std::uint64_t handle, add_handle(found->first, unique));
  if (node.handles++ == 0 && node.backing_slot) idle_.erase(node.idle);
  Opened opened{.handle = handle, .backing = std::nullopt, .given_before = false};
  if (node.backing_slot)
    opened.backing = static_cast<std::uint32_t>(memory_.backings()[*node.backing_slot].id);
  return opened;
}

std::optional<Result<OpenNodes::Opened>> OpenNodes::open_known(std::uint64_t node,
                                                               std::uint64_t unique) {
  const std::lock_guard lock(mutex_);
  if (auto before = opened_before(node, unique)) return *before;
  const auto found = nodes_.find(node);
  if (found == nodes_.end()) return std::nullopt;
  if (found->second.gone) return fail_errno("open a file that has gone", ESTALE);
  return open_in(found, unique);
}

std::optional<std::uint32_t> OpenNodes::add_backing(std::uint64_t node, const OpenFile& file) {
  const int descriptor = file.descriptor_if_whole();
  if (descriptor < 0 || !backings_.available()) return std::nullopt;
  ConnectionMemory::Header& header = memory_.header();
  if (free_backings_.empty() && header.backings_used == ConnectionMemory::most_backings)
    return std::nullopt;
  header.adding_backing.store(1, std::memory_order_release);
  const auto id = backings_.add(descriptor);
  if (!id) {
    header.adding_backing.store(0, std::memory_order_release);
    if (!std::exchange(refusal_said_, true))
      logger_->warn("files are read through icbd instead of by the kernel itself: {}",
                    id.error().message());
    return std::nullopt;
  }
  std::uint32_t slot = 0;
  if (free_backings_.empty()) {
    slot = header.backings_used++;
  } else {
    slot = free_backings_.back();
    free_backings_.pop_back();
  }
  ConnectionMemory::Backing& backing = memory_.backings()[slot];
  backing.id = *id;
  header.last_backing = *id;
  backing.node.store(node, std::memory_order_release);
  header.adding_backing.store(0, std::memory_order_release);
  return slot;
}

// Killed in between, the next process finds an id without a node and gives it back.
void OpenNodes::remove_backing(std::uint32_t slot) {
  ConnectionMemory::Backing& backing = memory_.backings()[slot];
  backing.node.store(0, std::memory_order_release);
  backings_.remove(static_cast<std::uint32_t>(backing.id));
  backing.id = 0;
  free_backings_.push_back(slot);
}

void OpenNodes::remove_backing_of(const Node& node) {
  if (node.backing_slot) remove_backing(*node.backing_slot);
}

void OpenNodes::forget_oldest_idle() {
  const auto oldest = nodes_.find(idle_.front());
  idle_.pop_front();
  remove_backing_of(oldest->second);
  nodes_.erase(oldest);
}

Result<OpenNodes::Opened> OpenNodes::open(std::uint64_t node, std::uint64_t unique,
                                          std::shared_ptr<OpenFile> file) {
  const std::lock_guard lock(mutex_);
  if (auto before = opened_before(node, unique)) return *before;
  auto found = nodes_.find(node);
  if (found == nodes_.end()) {
    Node fresh;
    fresh.backing_slot = add_backing(node, *file);
    // What the kernel reads by itself needs no descriptor of ours.
    if (!fresh.backing_slot) fresh.file = std::move(file);
    found = nodes_.emplace(node, std::move(fresh)).first;
    if (found->second.backing_slot) found->second.idle = idle_.insert(idle_.end(), node);
  }
  if (found->second.gone) return fail_errno("open a file that has gone", ESTALE);
  auto opened = open_in(found, unique);
  if (!opened && found->second.handles == 0 && !found->second.backing_slot) nodes_.erase(found);
  return opened;
}

void OpenNodes::close(std::uint64_t handle) {
  std::shared_ptr<OpenFile> closing;  // destroyed without the lock
  const std::lock_guard lock(mutex_);
  const auto slot = static_cast<std::uint32_t>(handle & slot_mask);
  ConnectionMemory::Handle& entry = memory_.handles()[slot];
  const std::uint64_t number = entry.node;
  if (number == 0 || handle_number(slot, entry.unique) != handle) return;
  entry.node.store(0, std::memory_order_release);
  free_handles_.push_back(slot);
  const auto count = handles_of_.find(serial_of(number));
  if (--count->second == 0) handles_of_.erase(count);
  const auto found = nodes_.find(number);
  Node& node = found->second;
  if (--node.handles != 0) return;
  closing = std::move(node.file);
  if (node.gone) remove_backing_of(node);
  if (node.gone || !node.backing_slot) {
    nodes_.erase(found);
    return;
  }
  node.idle = idle_.insert(idle_.end(), number);
  if (idle_.size() > most_idle) forget_oldest_idle();
}

std::shared_ptr<OpenFile> OpenNodes::file(std::uint64_t node) const {
  const std::lock_guard lock(mutex_);
  const auto found = nodes_.find(node);
  return found == nodes_.end() ? nullptr : found->second.file;
}

std::shared_ptr<OpenFile> OpenNodes::keep_file(std::uint64_t node, std::shared_ptr<OpenFile> file) {
  const std::lock_guard lock(mutex_);
  const auto found = nodes_.find(node);
  if (found == nodes_.end() || found->second.handles == 0) return file;
  if (!found->second.file) found->second.file = std::move(file);
  return found->second.file;
}

std::size_t OpenNodes::open_handles(VersionSerial serial) const {
  const std::lock_guard lock(mutex_);
  const auto found = handles_of_.find(serial);
  return found == handles_of_.end() ? 0 : found->second;
}

void OpenNodes::forget(VersionSerial serial) {
  const std::lock_guard lock(mutex_);
  forget_locked(serial);
}

std::size_t OpenNodes::forget_unless_open(VersionSerial serial) {
  const std::lock_guard lock(mutex_);
  const auto open = handles_of_.find(serial);
  if (open != handles_of_.end()) return open->second;
  forget_locked(serial);
  return 0;
}

// With mutex_ held.
void OpenNodes::forget_locked(VersionSerial serial) {
  for (auto place = idle_.begin(); place != idle_.end();) {
    const std::uint64_t number = *place;
    if (serial_of(number) != serial) {
      ++place;
      continue;
    }
    place = idle_.erase(place);
    const auto found = nodes_.find(number);
    remove_backing_of(found->second);
    nodes_.erase(found);
  }
  for (auto& [number, node] : nodes_)
    if (serial_of(number) == serial) node.gone = true;
}

std::vector<OpenNodes::Served> OpenNodes::served() const {
  const std::lock_guard lock(mutex_);
  std::vector<Served> all;
  for (const auto& [number, node] : nodes_)
    if (!node.backing_slot) all.push_back({number, node.handles});
  return all;
}

}  // namespace icbd::fs
