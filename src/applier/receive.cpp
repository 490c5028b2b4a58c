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

// Versions below a directory, and what lies elsewhere in its filesystem.
class KnownVersions final : public CloneSources {
 public:
  KnownVersions(int directory_fd, unique_fd search_root, CloneSources* given)
      : directory_fd_(directory_fd), search_root_(std::move(search_root)), given_(given) {}

  Result<unique_fd> find(const Uuid& uuid) const {
    if (given_ != nullptr) return find_given(uuid);
    auto found = btrfs::find_subvolume(directory_fd_, uuid);
    if (found || found.error().code() != ErrorCode::not_found || !search_root_) return found;
    return btrfs::find_subvolume(search_root_.get(), uuid);
  }

  Result<int> root_of(const Uuid& uuid) override {
    if (const auto known = roots_.find(uuid); known != roots_.end()) return known->second.get();
    if (roots_.size() == clone_sources_max)
      return fail(ErrorCode::too_large,
                  fmt::format("the stream shares with more than {} versions", clone_sources_max));
    ICBD_ASSIGN(unique_fd root, find(uuid));
    return roots_.emplace(uuid, std::move(root)).first->second.get();
  }

  // For the next stream, which may share with as many.
  void forget() { roots_.clear(); }

 private:
  Result<unique_fd> find_given(const Uuid& uuid) const {
    ICBD_ASSIGN(const int root, given_->root_of(uuid));
    unique_fd own(::fcntl(root, F_DUPFD_CLOEXEC, 0));
    if (!own) return fail_errno("fcntl");
    return own;
  }

  int directory_fd_;
  unique_fd search_root_;
  CloneSources* given_;
  std::map<Uuid, unique_fd> roots_;
};

std::string staging_name_of(const std::string& name) {
  return (name.starts_with('.') ? "" : ".") + name + ".receiving";
}

Status check_name(const std::string& name) {
  if (ConfinedTree::check_path(staging_name_of(name)) && !name.empty() && name != "." &&
      name != ".." && name.find('/') == std::string::npos)
    return {};
  return fail(ErrorCode::corrupt,
              fmt::format("{} cannot be the name of a subvolume here", quote(name)));
}

std::optional<Beginning> beginning_of(const sendstream::Command& command) {
  if (const auto* full = std::get_if<sendstream::Subvolume>(&command))
    return Beginning{.name = full->path,
                     .uuid = full->uuid,
                     .transaction_id = full->transaction_id,
                     .parent_uuid = std::nullopt};
  if (const auto* incremental = std::get_if<sendstream::Snapshot>(&command))
    return Beginning{.name = incremental->path,
                     .uuid = incremental->uuid,
                     .transaction_id = incremental->transaction_id,
                     .parent_uuid = incremental->parent_uuid};
  return std::nullopt;
}

}  // namespace

struct Receiver::State {
  State(std::filesystem::path where, unique_fd fd, unique_fd search_root, ReceiveOptions given)
      : directory(std::move(where)),
        directory_fd(std::move(fd)),
        options(std::move(given)),
        sources(directory_fd.get(), std::move(search_root), options.versions) {}
  ~State() { static_cast<void>(discard()); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  std::filesystem::path staging_path() const { return directory / staging_name_of(name); }

  // The input.
  Status feed(ByteView piece);
  Status finish() const;
  Result<bool> decode_next();
  Status pass_over(const Error& error);
  Status end_stream();

  // One subvolume of it.
  Status apply(const sendstream::Command& command);
  Status begin(const Beginning& said);
  Status replace_leftover() const;
  Status make_staging(const std::optional<Uuid>& parent);
  Status complete(bool sealed);
  Status land(const Applier::Identity& identity, bool sealed);
  Result<bool> discard();

  std::filesystem::path directory;
  unique_fd directory_fd;
  ReceiveOptions options;
  KnownVersions sources;
  sendstream::Decoder decoder;
  std::uint64_t errors = 0;  // of this stream that were passed over
  std::optional<Error> last_error;
  bool done = false;
  std::vector<Received> received;

  std::string name;
  unique_fd root;      // of the staged subvolume, with a lock on it; none if there is none
  FrozenFiles frozen;  // of the parent
  std::optional<Applier> applier;
  std::optional<Error> failure;
};

Status Receiver::State::feed(ByteView piece) {
  if (done) return {};
  decoder.feed(piece);
  while (!done) {
    ICBD_ASSIGN(const bool decoded, decode_next());
    if (!decoded) return {};
  }
  return {};
}

// False if more bytes are needed.
Result<bool> Receiver::State::decode_next() {
  auto decoded = decoder.next();
  if (!decoded) {
    if (!decoder.pass_over()) return std::unexpected(decoded.error());
    ICBD_TRY(pass_over(decoded.error()));
    return true;
  }
  const std::optional<sendstream::Command> command = std::move(*decoded);
  if (!command) return false;
  if (options.observer != nullptr) options.observer->applies(*command);
  if (const auto beginning = beginning_of(*command)) {
    // Several subvolumes in one stream: only the last one has an end of its own.
    if (applier) ICBD_TRY(complete(true));
    ICBD_TRY(begin(*beginning));
  }
  if (std::holds_alternative<sendstream::End>(*command))
    ICBD_TRY(end_stream());
  else if (const Status applied = apply(*command); !applied)
    ICBD_TRY(pass_over(applied.error()));
  return true;
}

Status Receiver::State::pass_over(const Error& error) {
  ++errors;
  // Without its subvolume, nothing that follows can be applied either.
  if (!applier || errors == options.errors_max) return std::unexpected(error);
  last_error = error;
  if (options.observer != nullptr) options.observer->passes_over(error);
  return {};
}

Status Receiver::State::apply(const sendstream::Command& command) {
  if (!applier) return fail(ErrorCode::corrupt, "the stream does not begin with a subvolume");
  return applier->apply(command);
}

// Its last subvolume is whole. What follows is another stream.
Status Receiver::State::end_stream() {
  ICBD_TRY(complete(!last_error || options.stop_at_end));
  if (last_error && !options.stop_at_end)
    return std::unexpected(last_error->with_context(
        fmt::format("{} errors were passed over; {} was left writable. The last one", errors,
                    quote(received.back().path.string()))));
  done = options.stop_at_end;
  const ByteView rest = decoder.rest();
  sendstream::Decoder next;
  if (!done) next.feed(rest);
  decoder = std::move(next);
  sources.forget();
  errors = 0;
  last_error.reset();
  return {};
}

Status Receiver::State::finish() const {
  if (done) return {};
  const bool between = decoder.position() == 0 && decoder.rest().empty();
  if (!between) return decoder.finish();
  if (received.empty()) return fail(ErrorCode::corrupt, "there is no send stream: it is empty");
  return {};
}

// Before the applier sees a subvolume's first command, there must be something to apply it to.
Status Receiver::State::begin(const Beginning& said) {
  Beginning beginning = said;
  if (!options.name.empty()) beginning.name = options.name;
  ICBD_TRY(check_name(beginning.name));
  struct stat status{};
  if (::fstatat(directory_fd.get(), beginning.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0)
    return fail(ErrorCode::already_exists,
                fmt::format("{} exists", quote((directory / beginning.name).string())));
  name = beginning.name;
  if (options.observer != nullptr) options.observer->begins(beginning);
  ICBD_TRY(replace_leftover());
  ICBD_TRY(make_staging(beginning.parent_uuid));
  applier.emplace(root.get(), sources,
                  Options{.policy = options.policy,
                          .hold_back = false,
                          .extents_have_length = false,
                          .pass_over_errors = options.errors_max != 1,
                          .write_encoded = options.write_encoded});
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
    auto parent_root = sources.find(*parent);
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
  frozen = {};
  if (parent) ICBD_TRY(frozen.thaw(root.get()));
  return {};
}

// There are no more commands for this subvolume. It gets its name, and a whole one its identity.
Status Receiver::State::complete(bool sealed) {
  ICBD_TRY(apply(sendstream::End{}));
  const auto identity = applier ? applier->identity() : std::nullopt;
  if (!applier || !identity)
    return fail(ErrorCode::corrupt, "the stream does not name its subvolume");
  ICBD_TRY(frozen.freeze(root.get(), applier->inodes_with_set_flags()));
  ICBD_TRY(land(*identity, sealed));
  received.push_back(
      {.path = directory / name, .uuid = identity->uuid, .parent_uuid = identity->parent_uuid});
  name.clear();
  return {};
}

// Where a power cut may strike, what the name stands for must be whole: BTRFS commits in order, so
// the name is not on the disk before the flag and the UUID are, and those not before the data.
Status Receiver::State::land(const Applier::Identity& identity, bool sealed) {
  applier.reset();  // an open descriptor could still write to a read-only subvolume
  ICBD_TRY(btrfs::sync_filesystem(root.get()));
  if (sealed) {
    ICBD_TRY(btrfs::set_received(root.get(), identity.uuid, identity.transaction_id));
    ICBD_TRY(btrfs::set_read_only(root.get(), true));
  }
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

Result<std::filesystem::path> mount_root_of(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::path root = std::filesystem::canonical(path, error);
  if (error) return fail_errno(fmt::format("find {}", quote(path.string())), error.value());
  for (;; root = root.parent_path()) {
    struct statx status{};
    if (::statx(AT_FDCWD, root.c_str(), AT_SYMLINK_NOFOLLOW, 0, &status) != 0)
      return fail_errno(fmt::format("statx {}", quote(root.string())));
    if ((status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0 || !root.has_relative_path())
      return root;
  }
}

Result<Receiver> Receiver::open(const std::filesystem::path& directory,
                                const ReceiveOptions& options) {
  ICBD_ASSIGN(unique_fd fd, open_file(directory, O_RDONLY | O_DIRECTORY));
  ICBD_ASSIGN(const bool suitable, btrfs::is_btrfs(directory));
  if (!suitable)
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} is not on BTRFS", quote(directory.string())));
  unique_fd search_root;
  if (!options.search_root.empty()) {
    ICBD_ASSIGN(search_root, open_file(options.search_root, O_RDONLY | O_DIRECTORY));
    ICBD_ASSIGN(const Uuid here, btrfs::filesystem_uuid(fd.get()));
    const auto there = btrfs::filesystem_uuid(search_root.get());
    if (!there || *there != here)
      return fail(ErrorCode::invalid_argument,
                  fmt::format("{} is not on the filesystem of {}",
                              quote(options.search_root.string()), quote(directory.string())));
  }
  return Receiver(
      std::make_unique<State>(directory, std::move(fd), std::move(search_root), options));
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

std::size_t Receiver::missing() const {
  return state_->done ? 0 : state_->decoder.missing();
}

Result<std::vector<Received>> Receiver::finish() {
  if (const auto& failure = state_->failure) return std::unexpected(*failure);
  if (const Status finished = state_->finish(); !finished) {
    state_->failure = finished.error();
    return std::unexpected(finished.error());
  }
  return state_->received;
}

Result<bool> Receiver::discard() {
  return state_->discard();
}

const std::string& Receiver::name() const {
  return state_->name;
}

const std::vector<Received>& Receiver::received() const {
  return state_->received;
}

}  // namespace icbd::applier
