#include "icbd/sendstream/tree_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "icbd/base/limits.h"
#include "icbd/sendstream/dump.h"

#include "change_map.h"
#include "name_tree.h"

namespace icbd::sendstream {
namespace {

// Modes of fallocate(2) as they stand in a stream (linux/falloc.h).
constexpr std::uint32_t fallocate_keep_size = 0x01;
constexpr std::uint32_t fallocate_punch_hole = 0x02;
constexpr std::uint32_t fallocate_zero_range = 0x10;

std::unexpected<Error> misfit(std::string_view problem) {
  return fail(ErrorCode::corrupt, std::string(problem));
}

// What of `range` lies below `size`.
ByteRange clamp(ByteRange range, std::uint64_t size) {
  return intersect(range, {0, size});
}

}  // namespace

struct TreeModel::State {
  enum class Kind : std::uint8_t { directory, file, special };

  // What an object of `tree` holds, under the same index.
  struct Content {
    Kind kind = Kind::directory;
    bool lineage_is_old = false;
    std::uint64_t size = 0;         // as the data stream would have made it by now
    std::uint64_t parent_size = 0;  // of the parent's file
    ChangeMap changes;
    Lineage lineage;
  };

  NameTree tree;
  std::vector<Content> contents{1};
  bool has_parent = false;
  bool started = false;
  bool ended = false;
  Uuid own_uuid;
  std::optional<Uuid> parent_uuid;

  Status add_parent_name(const ParentName& name, std::unordered_map<FileIndex, ObjectIndex>& known);
  Status add_parent_link(const ParentName& name, ObjectIndex object);

  Status begin(const Uuid& uuid, std::optional<Uuid> parent);
  Status create(const std::string& path, Kind kind);
  Result<Content*> file(const std::string& path);
  Result<ObjectIndex> file_index(const std::string& path) const;

  // `range` of the file now holds something else; the file grows if it ends beyond its end.
  Status change(const std::string& path, ByteRange range, Change how);
  void resize(Content& content, std::uint64_t size);
  Status clone_from_parent(const Clone& command, ObjectIndex destination);
  Status clone_from_self(const Clone& command, ObjectIndex destination);

  Status operator()(const Subvolume& command) { return begin(command.uuid, std::nullopt); }
  Status operator()(const Snapshot& command) { return begin(command.uuid, command.parent_uuid); }
  Status operator()(const MakeFile& command) { return create(command.path, Kind::file); }
  Status operator()(const MakeDirectory& command) { return create(command.path, Kind::directory); }
  Status operator()(const MakeNode& command) { return create(command.path, Kind::special); }
  Status operator()(const MakeFifo& command) { return create(command.path, Kind::special); }
  Status operator()(const MakeSocket& command) { return create(command.path, Kind::special); }
  Status operator()(const MakeSymlink& command) { return create(command.path, Kind::special); }
  Status operator()(const Rename& command) { return tree.rename(command.path, command.to); }
  Status operator()(const Link& command);
  Status operator()(const Unlink& command);
  Status operator()(const RemoveDirectory& command) { return tree.remove_directory(command.path); }
  Status operator()(const Write& command);
  Status operator()(const EncodedWrite& command);
  Status operator()(const Clone& command);
  Status operator()(const Truncate& command);
  Status operator()(const UpdateExtent& command);
  Status operator()(const Fallocate& command);
  Status operator()(const End&);
  // Attributes change neither names nor bytes.
  template <typename AttributeCommand>
  Status operator()(const AttributeCommand& command) {
    ICBD_TRY(tree.find(command.path));
    return {};
  }
};

Status TreeModel::State::add_parent_name(const ParentName& name,
                                         std::unordered_map<FileIndex, ObjectIndex>& known) {
  if (const auto object = known.find(name.file); object != known.end())
    return add_parent_link(name, object->second);
  if (name.size > limits::file_size)
    return fail(ErrorCode::too_large, fmt::format("a file of {} bytes", name.size));
  ObjectIndex object = 0;
  if (!name.path.empty()) {
    ICBD_ASSIGN(object, tree.create(name.path, name.directory));
    contents.emplace_back();
  } else if (!name.directory) {
    return misfit("the root is not a directory");
  }
  known.emplace(name.file, object);
  if (name.directory) return {};
  Content& content = contents[object];
  content.kind = Kind::file;
  content.size = content.parent_size = name.size;
  content.lineage.parent = name.file;
  return {};
}

Status TreeModel::State::add_parent_link(const ParentName& name, ObjectIndex object) {
  if (name.directory || contents[object].kind != Kind::file)
    return misfit("a directory cannot have a second name");
  if (contents[object].parent_size != name.size)
    return misfit("two names of one file with different sizes");
  return tree.link(name.path, object);
}

Status TreeModel::State::begin(const Uuid& uuid, std::optional<Uuid> parent) {
  if (started) return misfit("a second subvolume in one stream");
  if (parent && !has_parent)
    return fail(ErrorCode::invalid_argument, "the stream needs its parent's entries");
  if (!parent && has_parent)
    return fail(ErrorCode::invalid_argument, "a full stream, but a parent's entries were given");
  if (parent == uuid) return misfit("the version and its parent have the same UUID");
  started = true;
  own_uuid = uuid;
  parent_uuid = parent;
  return {};
}

Status TreeModel::State::create(const std::string& path, Kind kind) {
  ICBD_TRY(tree.create(path, kind == Kind::directory));
  contents.emplace_back().kind = kind;
  return {};
}

Status TreeModel::State::operator()(const Link& command) {
  ICBD_ASSIGN(const ObjectIndex object, tree.find(command.existing));
  return tree.link(command.path, object);
}

Status TreeModel::State::operator()(const Unlink& command) {
  ICBD_ASSIGN(const ObjectIndex object, tree.unlink(command.path));
  if (tree.names(object) == 0) contents[object].changes = {};
  return {};
}

Result<ObjectIndex> TreeModel::State::file_index(const std::string& path) const {
  ICBD_ASSIGN(const ObjectIndex object, tree.find(path));
  if (contents[object].kind != Kind::file) return misfit("it is not a regular file");
  return object;
}

Result<TreeModel::State::Content*> TreeModel::State::file(const std::string& path) {
  ICBD_ASSIGN(const ObjectIndex object, file_index(path));
  contents[object].lineage_is_old = true;
  return &contents[object];
}

Status TreeModel::State::change(const std::string& path, ByteRange range, Change how) {
  if (range.length > limits::file_size || range.offset > limits::file_size - range.length)
    return fail(ErrorCode::too_large,
                fmt::format("the file would be larger than {} bytes", limits::file_size));
  ICBD_ASSIGN(Content * content, file(path));
  if (range.empty()) return {};
  if (range.end() > content->size) resize(*content, range.end());
  content->changes.assign(range, how);
  return {};
}

void TreeModel::State::resize(Content& content, std::uint64_t size) {
  if (size > content.size) {
    // The extension is zeros: of a file of the parent's, no longer the parent's bytes, also where
    // it had some before it was cut; of a new file, what it has been everywhere.
    if (content.lineage.parent)
      content.changes.assign({content.size, size - content.size}, Change::rewritten);
  } else {
    content.changes.erase({size, content.size - size});
  }
  content.size = size;
}

Status TreeModel::State::operator()(const Write& command) {
  return change(command.path, {command.offset, command.data.size()}, Change::rewritten);
}

Status TreeModel::State::operator()(const EncodedWrite& command) {
  return change(command.path, {command.offset, command.unencoded_file_length}, Change::rewritten);
}

Status TreeModel::State::operator()(const UpdateExtent& command) {
  return change(command.path, command.range, Change::updated);
}

Status TreeModel::State::operator()(const Truncate& command) {
  if (command.size > limits::file_size)
    return fail(ErrorCode::too_large,
                fmt::format("the file would be larger than {} bytes", limits::file_size));
  ICBD_ASSIGN(Content * content, file(command.path));
  resize(*content, command.size);
  return {};
}

Status TreeModel::State::operator()(const Fallocate& command) {
  constexpr std::uint32_t understood =
      fallocate_keep_size | fallocate_punch_hole | fallocate_zero_range;
  if ((command.mode & ~understood) != 0)
    return fail(ErrorCode::unsupported, fmt::format("fallocate mode {:#x}", command.mode));
  ICBD_ASSIGN(const Content* content, file(command.path));
  const ByteRange inside = clamp(command.range, content->size);
  const ByteRange beyond = {std::max(command.range.offset, content->size),
                            command.range.end() - std::max(inside.end(), command.range.offset)};
  if ((command.mode & (fallocate_punch_hole | fallocate_zero_range)) != 0)
    ICBD_TRY(change(command.path, inside, Change::rewritten));
  if ((command.mode & fallocate_keep_size) == 0)
    ICBD_TRY(change(command.path, beyond, Change::rewritten));
  return {};
}

Status TreeModel::State::operator()(const Clone& command) {
  ICBD_ASSIGN(const ObjectIndex destination, file_index(command.path));
  if (command.source_uuid == own_uuid) return clone_from_self(command, destination);
  if (command.source_uuid == parent_uuid) return clone_from_parent(command, destination);
  return change(command.path, command.range, Change::rewritten);
}

Status TreeModel::State::clone_from_parent(const Clone& command, ObjectIndex destination) {
  ICBD_ASSIGN(const ObjectIndex source, tree.find_frozen(command.source_path));
  // Whatever the parent's path is called by now: it is the same inode or it is not.
  const bool same_file = source == destination;
  const ByteRange read = {command.source_offset, command.range.length};
  if (clamp(read, contents[source].parent_size) != read)
    return misfit("the clone reads beyond the end of the parent's file");
  ICBD_TRY(change(command.path, command.range, Change::rewritten));
  if (same_file && command.source_offset == command.range.offset)
    contents[destination].changes.erase(command.range);
  return {};
}

Status TreeModel::State::clone_from_self(const Clone& command, ObjectIndex destination) {
  ICBD_ASSIGN(const ObjectIndex source, file_index(command.source_path));
  const ByteRange read = {command.source_offset, command.range.length};
  if (clamp(read, contents[source].size) != read)
    return misfit("the clone reads beyond the end of its source");
  // Taken before the destination changes: it may be the same file.
  const auto pending = contents[source].changes.ranges(Change::updated, read);
  ICBD_TRY(change(command.path, command.range, Change::rewritten));
  for (const ByteRange& part : pending)
    contents[destination].changes.assign(
        {part.offset - read.offset + command.range.offset, part.length}, Change::updated);
  return {};
}

Status TreeModel::State::operator()(const End&) {
  ended = true;
  return {};
}

TreeModel::TreeModel() : state_(std::make_unique<State>()) {}
TreeModel::TreeModel(std::unique_ptr<State> state) : state_(std::move(state)) {}
TreeModel::~TreeModel() = default;
TreeModel::TreeModel(TreeModel&&) noexcept = default;
TreeModel& TreeModel::operator=(TreeModel&&) noexcept = default;

Result<TreeModel> TreeModel::from_parent(std::span<const ParentName> names) {
  if (names.empty() || !names.front().path.empty())
    return fail(ErrorCode::invalid_argument, "the parent's entries must begin with the root");
  auto state = std::make_unique<State>();
  state->has_parent = true;
  std::unordered_map<FileIndex, ObjectIndex> known;
  for (const ParentName& name : names)
    if (auto added = state->add_parent_name(name, known); !added)
      return fail(ErrorCode::invalid_argument,
                  fmt::format("parent's entry \"{}\": {}", name.path, added.error().message()));
  state->tree.freeze();
  return TreeModel(std::move(state));
}

Status TreeModel::apply(const Command& command) {
  Status status;
  if (state_->ended) {
    status = misfit("a command after the end");
  } else if (!state_->started && !std::holds_alternative<Subvolume>(command) &&
             !std::holds_alternative<Snapshot>(command)) {
    status = misfit("the stream does not begin with a subvolume");
  } else {
    status = std::visit(*state_, command);
  }
  if (!status) return std::unexpected(status.error().with_context(dump(command)));
  return {};
}

const Lineage* TreeModel::lineage(std::string_view path) const {
  const auto object = state_->tree.find(path);
  if (!object) return nullptr;
  State::Content& content = state_->contents[*object];
  if (content.kind != State::Kind::file) return nullptr;
  if (content.lineage_is_old) {
    content.lineage.updated = content.changes.ranges(Change::updated);
    content.lineage.rewritten = content.changes.ranges(Change::rewritten);
    content.lineage_is_old = false;
  }
  return &content.lineage;
}

std::vector<std::string> TreeModel::paths() const {
  return state_->tree.paths();
}

}  // namespace icbd::sendstream
