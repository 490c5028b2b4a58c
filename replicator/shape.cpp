#include "icbd/replicator/shape.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <unordered_map>

#include "icbd/base/background.h"
#include "icbd/base/file.h"
#include "icbd/btrfs/subvolume.h"
#include "icbd/replicator/pending_map.h"
#include "icbd/repository/parent_names.h"
#include "icbd/sendstream/decoder.h"

#include "file_type.h"
#include "shared_inodes.h"
#include "take_pages.h"

namespace icbd::replicator {
namespace {

using manifest::Entry;
using manifest::EntryType;

// The pending map of the largest version: a byte per eight chunks and its changed ranges.
constexpr std::size_t pending_map_bytes = std::size_t{256} * 1024 * 1024;

using Entries = std::vector<Entry>;
using Pages = std::shared_ptr<manifest::FilePageStore>;

// The catalog's words about a version against the manifest that it names: a manifest of something
// else is told from the right one.
Status check_facts(const catalog::VersionFacts& facts, const manifest::Root& root) {
  if (facts.entries == root.entries && facts.file_bytes == root.file_bytes) return {};
  return fail(ErrorCode::corrupt,
              fmt::format("the catalog tells of {} entries with {} bytes, the manifest {} has {} "
                          "with {}: it belongs to something else",
                          facts.entries, facts.file_bytes, facts.manifest.to_string(), root.entries,
                          root.file_bytes));
}

Result<Entries> fetch_entries(manifest::FilePageStore& pages, const catalog::VersionFacts& facts,
                              const manifest::PageStore* parent, source::Source& source) {
  const Digest& root = facts.manifest;
  ICBD_TRY(take_pages(pages, root, std::span(&root, 1), parent, source));
  ICBD_ASSIGN(const manifest::Reader reader, manifest::Reader::open(pages, root));
  ICBD_TRY(check_facts(facts, reader.root()));
  ICBD_TRY(take_pages(pages, root, reader.missing_metadata(), parent, source));
  return reader.entries();
}

// Whose pages are most likely the same; null if there is none. Whether it may be the shape's parent
// is decided elsewhere, also what is wrong with it.
std::shared_ptr<const LocalVersion> open_nearest(LocalVersions& local,
                                                 std::span<const catalog::Version> candidates) {
  if (candidates.empty()) return nullptr;
  return local.open(candidates.front()).value_or(nullptr);
}

std::unexpected<Error> refuse(std::string_view path, std::string_view why) {
  return fail(ErrorCode::corrupt, fmt::format("shape and manifest disagree: /{} {}", path, why));
}

// What a reader sees of an inode before landing, and what landing cannot mend.
Status check_inode(const Staging& staging, const Entry& entry) {
  const std::string& path = entry.path.empty() ? "." : entry.path;
  struct stat status{};
  if (::fstatat(staging.root_fd(), path.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
    return fail_errno("look at /" + entry.path);
  if ((status.st_mode & S_IFMT) != file_type(entry.type))
    return refuse(entry.path, "has another type");
  switch (entry.type) {
    case EntryType::file:
      if (static_cast<std::uint64_t>(status.st_size) != entry.size)
        return refuse(entry.path, "has another size");
      return {};
    case EntryType::block_device:
    case EntryType::character_device:
      if (status.st_rdev != makedev(entry.device_major, entry.device_minor))
        return refuse(entry.path, "is another device");
      return {};
    case EntryType::symlink: {
      std::array<char, limits::path_length> target{};
      const ssize_t length =
          ::readlinkat(staging.root_fd(), path.c_str(), target.data(), target.size());
      if (length < 0) return fail_errno("read the link /" + entry.path);
      if (std::string_view(target.data(), static_cast<std::size_t>(length)) != entry.target)
        return refuse(entry.path, "points elsewhere");
      return {};
    }
    default:
      return {};
  }
}

// Nothing has changed this inode since it was checked as the parent's, and what check_inode() would
// look at is the same in both manifests.
bool was_checked(const SharedInodes& shared, InodeNumber inode, const Entry& entry) {
  const Entry* before = shared.find(inode);
  return before != nullptr && before->type == entry.type && before->size == entry.size &&
         before->device_major == entry.device_major && before->device_minor == entry.device_minor &&
         before->target == entry.target;
}

// The inode of each entry, if names, types, sizes, targets and hard links are the manifest's.
Result<std::vector<InodeNumber>> match_inodes(const Staging& staging, const Entries& entries,
                                              const SharedInodes& shared) {
  ICBD_ASSIGN(const std::vector<Staging::Name> names, staging.walk());
  std::unordered_map<std::string_view, std::uint32_t> by_path;
  std::vector<InodeNumber> inodes;
  inodes.reserve(entries.size());
  for (std::uint32_t i = 0; i < entries.size(); ++i) {
    const Entry& entry = entries[i];
    if (i >= names.size() || manifest::path_less(entry.path, names[i].path))
      return refuse(entry.path, "is missing from the shape");
    const Staging::Name& name = names[i];
    if (name.path != entry.path) return refuse(name.path, "is not in the manifest");
    by_path.emplace(entry.path, i);
    if (entry.type == EntryType::hard_link) {
      const auto first = by_path.find(entry.target);
      if (first == by_path.end() || inodes[first->second] != name.inode)
        return refuse(entry.path, fmt::format("is not another name of /{}", entry.target));
    } else if (!was_checked(shared, name.inode, entry)) {
      ICBD_TRY(check_inode(staging, entry));
    }
    inodes.push_back(name.inode);
  }
  if (names.size() > entries.size())
    return refuse(names[entries.size()].path, "is not in the manifest");
  return inodes;
}

// Finds the versions that a stream's clones may read: only its parent.
class ParentOnly final : public applier::CloneSources {
 public:
  explicit ParentOnly(const LocalVersion* parent) : parent_(parent) {}
  Result<int> root_of(const Uuid& uuid) override {
    if (parent_ == nullptr || parent_->version.facts.uuid != uuid)
      return fail(ErrorCode::not_found,
                  fmt::format("the shape copies from version {}, which is not its parent",
                              uuid.to_string()));
    return parent_->subvolume.root_fd();
  }

 private:
  const LocalVersion* parent_;
};

// Receives one shape.
class ShapeReceiver {
 public:
  ShapeReceiver(repository::Repository& repository, LocalVersions& local,
                const catalog::Version& version, std::span<const catalog::Version> candidates,
                const applier::Policy& policy)
      : repository_(repository),
        local_(local),
        version_(version),
        candidates_(candidates),
        policy_(policy) {}

  Status receive(source::Source& source) {
    source::ShapeRequest request{.manifest = version_.facts.manifest, .offered = {}};
    for (const catalog::Version& candidate :
         candidates_.first(std::min(candidates_.size(), limits::offered_parents)))
      request.offered.push_back(candidate.facts.uuid);
    ICBD_TRY(
        source.shape(request, {[this](const source::ShapeBegin& begin) { return start(begin); },
                               [this](ByteView piece) { return apply(piece); }}));
    if (!applier_) return fail(ErrorCode::corrupt, "the source sent no shape");
    ICBD_TRY(decoder_.finish());
    return applier_->finish();
  }

  const std::shared_ptr<const LocalVersion>& parent() const { return parent_; }
  // Both only after receive(), which has made them.
  // NOLINTNEXTLINE(bugprone-unchecked-optional-access)
  Staging take_staging() { return std::move(*staging_); }
  // NOLINTNEXTLINE(bugprone-unchecked-optional-access)
  const sendstream::TreeModel& model() const { return *model_; }

 private:
  Status start(const source::ShapeBegin& begin) {
    if (applier_) return fail(ErrorCode::corrupt, "the source began its shape twice");
    const auto path = repository_.staging_path(version_.facts.image, version_.facts.number);
    // What an attempt before this one has left.
    std::error_code error;
    if (std::filesystem::exists(path, error)) ICBD_TRY(btrfs::delete_subvolume(path));
    if (begin.parent) {
      ICBD_TRY(open_parent(*begin.parent));
      ICBD_TRY(btrfs::create_snapshot(
          repository_.version_path(parent_->version.facts.image, parent_->version.facts.number),
          path, false));
    } else {
      ICBD_TRY(btrfs::create_subvolume(path));
    }
    ICBD_ASSIGN(Staging staging, Staging::open(path));
    staging_.emplace(std::move(staging));
    ICBD_TRY(make_model(*staging_));
    sources_.emplace(parent_.get());
    applier_.emplace(staging_->root_fd(), *sources_,
                     applier::Options{.policy = policy_, .hold_back = true});
    return {};
  }

  Status open_parent(const Uuid& uuid) {
    const auto offered = std::ranges::find_if(
        candidates_, [&](const catalog::Version& version) { return version.facts.uuid == uuid; });
    if (offered == candidates_.end())
      return fail(ErrorCode::corrupt, fmt::format("the source chose a parent {} that was not "
                                                  "offered",
                                                  uuid.to_string()));
    ICBD_ASSIGN(parent_, local_.open(*offered));
    return {};
  }

  Status make_model(const Staging& staging) {
    if (!parent_) {
      model_.emplace();
      return {};
    }
    for (const Entry& entry : parent_->entries)
      if (entry.attributes != 0) ICBD_TRY(thaw(staging, entry.path));
    const auto names = repository::parent_names(parent_->entries);
    ICBD_ASSIGN(sendstream::TreeModel model, sendstream::TreeModel::from_parent(names));
    model_.emplace(std::move(model));
    return {};
  }

  static Status thaw(const Staging& staging, const std::string& path) {
    ICBD_ASSIGN(const unique_fd fd,
                open_at(staging.root_fd(), path.empty() ? "." : path, O_PATH | O_NOFOLLOW));
    struct stat status{};
    if (::fstat(fd.get(), &status) != 0) return fail_errno("stat /" + path);
    return thaw_inode(staging, InodeNumber(status.st_ino));
  }

  Status apply(ByteView piece) {
    if (!applier_ || !model_)
      return fail(ErrorCode::corrupt, "the source sent a shape without a beginning");
    decoder_.feed(piece);
    if (decoder_.position() > limits::shape_bytes)
      return fail(ErrorCode::too_large, "the shape is larger than any shape may be");
    while (true) {
      ICBD_ASSIGN(const std::optional<sendstream::Command> command, decoder_.next());
      if (!command) return {};
      ICBD_TRY(applier_->apply(*command));
      ICBD_TRY(model_->apply(*command));
    }
  }

  repository::Repository& repository_;
  LocalVersions& local_;
  const catalog::Version& version_;
  std::span<const catalog::Version> candidates_;
  applier::Policy policy_;
  std::shared_ptr<const LocalVersion> parent_;
  std::optional<Staging> staging_;
  std::optional<sendstream::TreeModel> model_;
  std::optional<ParentOnly> sources_;
  std::optional<applier::Applier> applier_;
  sendstream::Decoder decoder_;
};

std::vector<sendstream::Lineage> lineages_of(const sendstream::TreeModel& model,
                                             const Entries& entries) {
  std::vector<sendstream::Lineage> lineages(entries.size());
  for (std::size_t i = 0; i < entries.size(); ++i)
    if (entries[i].type == EntryType::file)
      if (const sendstream::Lineage* lineage = model.lineage(entries[i].path))
        lineages[i] = *lineage;
  return lineages;
}

}  // namespace

Result<std::shared_ptr<Content>> fetch_shape(repository::Repository& repository,
                                             LocalVersions& local, source::Source& source,
                                             const catalog::Version& version,
                                             std::span<const catalog::Version> candidates,
                                             const applier::Policy& policy) {
  const auto& [image, number] = std::tie(version.facts.image, version.facts.number);
  ICBD_TRY(repository.prepare_image(image));
  ICBD_ASSIGN(Pages pages, repository.pages(image, number, true));
  Entries entries;
  // They come on another connection than the shape.
  auto entries_fetched = in_background([&]() -> Status {
    const auto nearest = open_nearest(local, candidates);
    ICBD_ASSIGN(entries, fetch_entries(*pages, version.facts,
                                       nearest ? nearest->pages.get() : nullptr, source));
    return {};
  });
  ShapeReceiver receiver(repository, local, version, candidates, policy);
  ICBD_TRY(receiver.receive(source));
  ICBD_TRY(entries_fetched.get());
  Staging staging = receiver.take_staging();
  // Made durable before it is looked at: what the kernel has not written cannot be asked for. If
  // there is no room for it, it can be read from all the same.
  const bool is_synced = btrfs::sync_filesystem(staging.root_fd()).has_value();
  SharedInodes shared;
  if (is_synced) {
    ICBD_ASSIGN(shared, SharedInodes::look(staging, receiver.parent()));
  }
  ICBD_ASSIGN(std::vector<InodeNumber> inodes, match_inodes(staging, entries, shared));
  std::vector<sendstream::Lineage> lineages = lineages_of(receiver.model(), entries);
  return Content::make({.version = version,
                        .staging = std::move(staging),
                        .pages = std::move(pages),
                        .entries = std::move(entries),
                        .inodes = std::move(inodes),
                        .lineages = std::move(lineages),
                        .parent = receiver.parent(),
                        .is_synced = is_synced},
                       source);
}

Result<std::shared_ptr<Content>> resume_content(repository::Repository& repository,
                                                LocalVersions& local, source::Source& source,
                                                const catalog::Version& version, bool& wanted) {
  const auto& [image, number] = std::tie(version.facts.image, version.facts.number);
  ICBD_ASSIGN(Staging staging, Staging::open(repository.staging_path(image, number)));
  ICBD_ASSIGN(Pages pages, repository.pages(image, number));
  std::shared_ptr<const LocalVersion> parent;
  if (version.shape_parent) {
    ICBD_ASSIGN(const catalog::Version parent_version,
                repository.catalog().version(*version.shape_parent));
    ICBD_ASSIGN(parent, local.open(parent_version));
  }
  ICBD_ASSIGN(const manifest::Reader reader,
              manifest::Reader::open(*pages, version.facts.manifest));
  ICBD_ASSIGN(Entries entries, reader.entries());
  ICBD_ASSIGN(std::vector<InodeNumber> inodes, match_inodes(staging, entries, {}));
  const ChunkMap counted(entries);
  ICBD_ASSIGN(const Bytes bytes,
              read_file(repository.pending_map_path(image, number), pending_map_bytes));
  ICBD_ASSIGN(PendingMap map, decode_pending_map(bytes, entries.size(), counted.count()));
  if (map.manifest != version.facts.manifest)
    return fail(ErrorCode::corrupt, "the pending map belongs to other content");
  for (const sendstream::Lineage& lineage : map.lineages)
    if (lineage.parent && (!parent || lineage.parent->value() >= parent->entries.size()))
      return fail(ErrorCode::corrupt, "the pending map belongs to another parent");
  wanted = map.wanted;
  ICBD_ASSIGN(auto content, Content::make({.version = version,
                                           .staging = std::move(staging),
                                           .pages = std::move(pages),
                                           .entries = std::move(entries),
                                           .inodes = std::move(inodes),
                                           .lineages = std::move(map.lineages),
                                           .parent = std::move(parent)},
                                          source));
  for (std::uint64_t i = 0; i < map.done.size(); ++i)
    if (map.done[i]) content->chunks().advance(ChunkNumber(i), ChunkState::done);
  // It may have been stopped in the middle of its landing.
  ICBD_TRY(content->unseal());
  return content;
}

}  // namespace icbd::replicator
