#include "refresher.h"

#include <algorithm>
#include <utility>

namespace icbd::fs {
namespace {

// Where a name of an image leads to; what is remembered under it is good as long as that is equal.
using Meaning = std::pair<std::uint64_t, std::uint64_t>;

void add_names(const ImageEntry& image, std::vector<std::pair<std::string, Meaning>>& names) {
  for (const VersionEntry& version : image.versions)
    names.emplace_back(std::to_string(version.number.value()),
                       Meaning{version.serial.value(), version.generation});
  for (const LinkEntry& link : image.links)
    names.emplace_back(link.name, Meaning{link.id, link.target.value()});
  std::ranges::sort(names);
}

void compare_images(const ImageEntry& before, const ImageEntry& after, Invalidations& all) {
  std::vector<std::pair<std::string, Meaning>> old_names, new_names;
  add_names(before, old_names);
  add_names(after, new_names);
  if (old_names == new_names && before.modified.seconds == after.modified.seconds) return;
  const std::uint64_t node = id_of(NodeId::of_image(after.id));
  all.nodes.push_back(node);
  for (const auto& entry : old_names)
    if (!std::ranges::binary_search(new_names, entry)) all.names.push_back({node, entry.first});
  for (const LinkEntry& link : after.links) all.nodes.push_back(id_of(NodeId::of_link(link.id)));
}

}  // namespace

Invalidations differences(const Library::Images* before, const Library::Images& after) {
  Invalidations all;
  all.nodes.push_back(fuse_root_id);
  const Library::Images none;
  const Library::Images& old = before == nullptr ? none : *before;
  for (const ImageEntry& image : after) {
    const auto known = std::ranges::find(old, image.id, &ImageEntry::id);
    if (known != old.end()) {
      compare_images(*known, image, all);
    } else if (before == nullptr) {
      const std::uint64_t node = id_of(NodeId::of_image(image.id));
      all.nodes.push_back(node);
      for (const LinkEntry& link : image.links)
        all.nodes.push_back(id_of(NodeId::of_link(link.id)));
    }
  }
  for (const ImageEntry& image : old)
    if (std::ranges::find(after, image.id, &ImageEntry::id) == after.end())
      all.names.push_back({fuse_root_id, image.name});
  return all;
}

Refresher::Refresher(Library& library, InvalidateNode node, InvalidateNames names)
    : library_(library), invalidate_node_(std::move(node)), invalidate_names_(std::move(names)) {}

Refresher::~Refresher() {
  stop();
}

void Refresher::start(bool anew) {
  if (!anew) shown_ = library_.images();
  changed_ = true;  // also what changed before this
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

void Refresher::stop() {
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
}

void Refresher::changed() {
  const std::lock_guard lock(mutex_);
  changed_ = true;
  wake_.notify_one();
}

void Refresher::run(const std::stop_token& stop) {
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      if (!wake_.wait(lock, stop, [this] { return changed_; })) return;
      changed_ = false;
    }
    auto now = library_.images();
    if (now == shown_) continue;
    Invalidations all = differences(shown_.get(), *now);
    for (const std::uint64_t node : all.nodes) invalidate_node_(node);
    if (!all.names.empty()) invalidate_names_(std::move(all.names));
    shown_ = std::move(now);
  }
}

}  // namespace icbd::fs
