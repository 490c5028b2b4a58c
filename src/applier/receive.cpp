#include "icbd/applier/receive.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <map>
#include <utility>

#include "icbd/base/file.h"
#include "icbd/base/quote.h"
#include "icbd/base/unique_fd.h"
#include "icbd/btrfs/find_subvolume.h"
#include "icbd/btrfs/subvolume.h"
#include "icbd/sendstream/decoder.h"

#include "confined_tree.h"
#include "frozen_files.h"

namespace icbd::applier {
namespace {

// A stream names few clone sources; the sender's own limit is far above this.
constexpr std::size_t clone_sources_max = 256;

// Versions below one directory.
class VersionsBelow final : public CloneSources {
 public:
  explicit VersionsBelow(int directory_fd) : directory_fd_(directory_fd) {}

  Result<int> root_of(const Uuid& uuid) override {
    if (const auto known = roots_.find(uuid); known != roots_.end()) return known->second.get();
    if (roots_.size() == clone_sources_max)
      return fail(ErrorCode::too_large,
                  fmt::format("the stream shares with more than {} versions", clone_sources_max));
    ICBD_ASSIGN(unique_fd root, btrfs::find_subvolume(directory_fd_, uuid));
    return roots_.emplace(uuid, std::move(root)).first->second.get();
  }

 private:
  int directory_fd_;
  std::map<Uuid, unique_fd> roots_;
};

std::string staging_name_of(const std::string& name) {
  return "." + name + ".receiving";
}

Status check_name(const std::string& name) {
  if (ConfinedTree::check_path(staging_name_of(name)) && !name.empty() && name != "." &&
      name != ".." && name.find('/') == std::string::npos)
    return {};
  return fail(ErrorCode::corrupt,
              fmt::format("{} cannot be the name of a subvolume here", quote(name)));
}

struct Beginning {
  std::string name;
  std::optional<Uuid> parent;
};

std::optional<Beginning> beginning_of(const sendstream::Command& command) {
  if (const auto* full = std::get_if<sendstream::Subvolume>(&command))
    return Beginning{.name = full->path, .parent = std::nullopt};
  if (const auto* incremental = std::get_if<sendstream::Snapshot>(&command))
    return Beginning{.name = incremental->path, .parent = incremental->parent_uuid};
  return std::nullopt;
}

}  // namespace

struct Receiver::State {
  State(std::filesystem::path where, unique_fd fd, const ReceiveOptions& given)
      : directory(std::move(where)),
        directory_fd(std::move(fd)),
        options(given),
        sources(directory_fd.get()) {}
  ~State() { static_cast<void>(discard()); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  std::filesystem::path staging_path() const { return directory / staging_name_of(name); }

  Status feed(ByteView piece);
  Result<Received> finish();
  Status begin(const sendstream::Command& command);
  Status replace_leftover() const;
  Status make_staging(const std::optional<Uuid>& parent);
  Status land(const Applier::Identity& identity);
  Result<bool> discard();

  std::filesystem::path directory;
  unique_fd directory_fd;
  ReceiveOptions options;
  VersionsBelow sources;
  sendstream::Decoder decoder;
  std::string name;
  unique_fd root;      // of the staged subvolume, with a lock on it; none if there is none
  FrozenFiles frozen;  // of the parent
  std::optional<Applier> applier;
  std::optional<Error> failure;
};

Status Receiver::State::feed(ByteView piece) {
  decoder.feed(piece);
  for (;;) {
    ICBD_ASSIGN(const auto command, decoder.next());
    if (!command) return {};
    if (!applier) ICBD_TRY(begin(*command));
    // NOLINTNEXTLINE(bugprone-unchecked-optional-access): begin() has made it.
    ICBD_TRY(applier->apply(*command));
  }
}

Result<Received> Receiver::State::finish() {
  ICBD_TRY(decoder.finish());
  if (!applier) return fail(ErrorCode::corrupt, "the stream holds no subvolume");
  ICBD_TRY(applier->finish());
  const std::optional<Applier::Identity> identity = applier->identity();
  if (!identity) return fail(ErrorCode::corrupt, "the stream does not name its subvolume");
  ICBD_TRY(frozen.freeze(root.get(), applier->inodes_with_set_flags()));
  ICBD_TRY(land(*identity));
  return Received{
      .path = directory / name, .uuid = identity->uuid, .parent_uuid = identity->parent_uuid};
}

// Before the applier sees the stream's first command, there must be something to apply it to.
Status Receiver::State::begin(const sendstream::Command& command) {
  const auto beginning = beginning_of(command);
  if (!beginning) return fail(ErrorCode::corrupt, "the stream does not begin with a subvolume");
  ICBD_TRY(check_name(beginning->name));
  struct stat status{};
  if (::fstatat(directory_fd.get(), beginning->name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0)
    return fail(ErrorCode::already_exists,
                fmt::format("{} exists", quote((directory / beginning->name).string())));
  name = beginning->name;
  ICBD_TRY(replace_leftover());
  ICBD_TRY(make_staging(beginning->parent));
  applier.emplace(
      root.get(), sources,
      Options{
          .policy = options.policy, .hold_back = false, .write_encoded = options.write_encoded});
  return {};
}

// The lock tells what a killed receiver has left from what another one is at work on.
Status Receiver::State::replace_leftover() const {
  auto found =
      open_at(directory_fd.get(), staging_name_of(name), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!found) {
    if (found.error().code() == ErrorCode::not_found) return {};
    return std::unexpected(found.error());
  }
  if (::flock(found->get(), LOCK_EX | LOCK_NB) != 0)
    return fail(ErrorCode::busy, fmt::format("another receive of {} is at work", quote(name)));
  return btrfs::delete_subvolume(staging_path());
}

Status Receiver::State::make_staging(const std::optional<Uuid>& parent) {
  if (parent) {
    auto parent_root = btrfs::find_subvolume(directory_fd.get(), *parent);
    if (!parent_root)
      return std::unexpected(parent_root.error().with_context("find the stream's parent"));
    ICBD_TRY(btrfs::create_snapshot(descriptor_path(parent_root->get()), staging_path(), false));
  } else {
    ICBD_TRY(btrfs::create_subvolume(staging_path()));
  }
  ICBD_ASSIGN(root, open_at(directory_fd.get(), staging_name_of(name),
                            O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  if (::flock(root.get(), LOCK_EX | LOCK_NB) != 0)
    return fail(ErrorCode::busy, fmt::format("another receive of {} is at work", quote(name)));
  if (parent) ICBD_TRY(frozen.thaw(root.get()));
  return {};
}

// Where a power cut may strike, what the name stands for must be whole: BTRFS commits in order, so
// the name is not on the disk before the flag and the UUID are, and those not before the data.
Status Receiver::State::land(const Applier::Identity& identity) {
  applier.reset();  // an open descriptor could still write to a read-only subvolume
  ICBD_TRY(btrfs::sync_filesystem(root.get()));
  ICBD_TRY(btrfs::set_received(root.get(), identity.uuid, identity.transaction_id));
  ICBD_TRY(btrfs::set_read_only(root.get(), true));
  if (::renameat2(directory_fd.get(), staging_name_of(name).c_str(), directory_fd.get(),
                  name.c_str(), RENAME_NOREPLACE) != 0)
    return fail_errno(fmt::format("give the subvolume its name {}", quote(name)));
  const unique_fd landed = std::move(root);  // from here on there is nothing to discard
  return btrfs::sync_filesystem(directory_fd.get());
}

Result<bool> Receiver::State::discard() {
  applier.reset();
  if (!root) return false;
  root.reset();
  ICBD_TRY(btrfs::delete_subvolume(staging_path()));
  return true;
}

Result<Receiver> Receiver::open(const std::filesystem::path& directory,
                                const ReceiveOptions& options) {
  ICBD_ASSIGN(unique_fd fd, open_file(directory, O_RDONLY | O_DIRECTORY));
  ICBD_ASSIGN(const bool suitable, btrfs::is_btrfs(directory));
  if (!suitable)
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} is not on BTRFS", quote(directory.string())));
  return Receiver(std::make_unique<State>(directory, std::move(fd), options));
}

Receiver::Receiver(std::unique_ptr<State> state) : state_(std::move(state)) {}
Receiver::Receiver(Receiver&&) noexcept = default;
Receiver& Receiver::operator=(Receiver&&) noexcept = default;

Receiver::~Receiver() = default;

Status Receiver::feed(ByteView piece) {
  if (const auto& failure = state_->failure) return std::unexpected(*failure);
  Status fed = state_->feed(piece);
  if (!fed) state_->failure = fed.error();
  return fed;
}

Result<Received> Receiver::finish() {
  if (const auto& failure = state_->failure) return std::unexpected(*failure);
  auto received = state_->finish();
  if (!received) state_->failure = received.error();
  return received;
}

Result<bool> Receiver::discard() {
  return state_->discard();
}

const std::string& Receiver::name() const {
  return state_->name;
}

}  // namespace icbd::applier
