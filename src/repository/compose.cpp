#include "compose.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "icbd/base/file.h"
#include "icbd/base/quote.h"
#include "icbd/base/uuid.h"
#include "icbd/btrfs/space.h"
#include "icbd/btrfs/subvolume.h"

#include "beneath.h"
#include "content_copy.h"
#include "inode_facts.h"
#include "sync_metadata.h"
#include "tree_sync.h"

namespace icbd::repository {
namespace {

std::string first_component(const std::string& path) {
  return path.substr(0, path.find('/'));
}

bool is_copied_in(const std::optional<Mark>& mark) {
  return mark && !mark->outside.empty();
}

// Names at the top of the version that do not come from a directory or subvolume.
std::set<std::string> copied_names(const Marks& marks) {
  std::set<std::string> names;
  for (const auto* mark : {&marks.boot, &marks.target})
    if (is_copied_in(*mark)) names.insert((*mark)->inside);
  return names;
}

Status check_room(Repository& repository, std::uint64_t bytes) {
  return btrfs::check_room(repository.directory_fd(), bytes);
}

Result<bool> shares(Repository& repository, const std::filesystem::path& path, int fd) {
  ICBD_ASSIGN(const bool is_btrfs, btrfs::is_btrfs(path));
  if (!is_btrfs) return false;
  ICBD_ASSIGN(const Uuid there, btrfs::filesystem_uuid(fd));
  ICBD_ASSIGN(const Uuid here, btrfs::filesystem_uuid(repository.directory_fd()));
  return there == here;
}

// The times of the version's root are the source's, whatever was copied in beside.
class KeptTimes {
 public:
  explicit KeptTimes(int fd) : fd_(fd) { known_ = fstat(fd, &status_) == 0; }
  KeptTimes(const KeptTimes&) = delete;
  KeptTimes& operator=(const KeptTimes&) = delete;
  ~KeptTimes() {
    const std::array<timespec, 2> times{status_.st_atim, status_.st_mtim};
    if (known_) futimens(fd_, times.data());
  }

 private:
  int fd_;
  struct stat status_{};
  bool known_;
};

class Composer {
 public:
  Composer(Repository& repository, const PublishRequest& request, const PublishSource& source,
           const Marks& marks, const std::optional<catalog::Version>& parent, Draft& draft,
           PublishProgress& progress)
      : repository_(repository),
        request_(request),
        source_(source),
        marks_(marks),
        parent_(parent),
        draft_(draft),
        progress_(progress) {}

  Result<Composition> run() {
    ICBD_TRY(open_parent());
    if (source_.kind == SourceKind::subvolume)
      ICBD_TRY(draft_.begin_as(source_.path));
    else if (parent_root_)
      ICBD_TRY(draft_.begin_as(descriptor_path(parent_root_.get())));
    else
      ICBD_TRY(draft_.begin_empty());
    if (source_.kind == SourceKind::directory) ICBD_TRY(bring_directory());
    if (source_.kind == SourceKind::disk_image) ICBD_TRY(bring_disk_alone());
    ICBD_TRY(copy_in());
    ICBD_TRY(check_marks());
    return std::move(composition_);
  }

 private:
  // Without it everything is read and written: slower, not wrong.
  Status open_parent() {
    if (!parent_) return {};
    auto root = repository_.open_version(parent_->facts.image, parent_->facts.number);
    if (root)
      parent_root_ = std::move(*root);
    else
      repository_.logger()->warn("the previous version cannot be read: {}", root.error().message());
    return {};
  }

  void begin_phase(PublishPhase phase, std::uint64_t total) {
    progress_.bytes_done = 0;
    progress_.bytes_total = total;
    progress_.phase = phase;
  }

  SyncOptions sync_options(bool share) const {
    return {.checksum = request_.checksum,
            .allow_changing = request_.allow_changing,
            .share = share,
            .reserved = {},
            .isolated = false,
            .forbidden = {}};
  }

  Status bring_directory() {
    SyncOptions options = sync_options(source_.same_filesystem);
    options.reserved = copied_names(marks_);
    options.isolated = !options.reserved.empty();
    ICBD_ASSIGN(options.forbidden, file_identity(repository_.directory_fd()));
    return bring_tree(source_.path, draft_.root_fd(), options);
  }

  Status bring_tree(const std::filesystem::path& path, int destination_fd,
                    const SyncOptions& options) {
    ICBD_ASSIGN(const unique_fd from, open_file(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    const auto plan = plan_sync(from.get(), destination_fd, options);
    if (!plan) return std::unexpected(explain(path, plan.error()));
    if (!options.share) ICBD_TRY(check_room(repository_, plan->bytes_new));
    begin_phase(PublishPhase::copying, plan->bytes_compared);
    const auto done =
        sync_tree(from.get(), destination_fd, options,
                  {.bytes_done = &progress_.bytes_done, .cancelled = &progress_.cancelled});
    if (!done) return std::unexpected(explain(path, done.error()));
    composition_.warnings.insert(composition_.warnings.end(), done->warnings.begin(),
                                 done->warnings.end());
    return {};
  }

  // What a person can do about it.
  Error explain(const std::filesystem::path& path, const Error& error) const {
    std::string message = error.message();
    if (error.code() == ErrorCode::busy)
      message += ": publish a snapshot of it, stop who writes, or say --allow-changing";
    if (error.code() == ErrorCode::already_exists && !copied_names(marks_).empty())
      message += ": mark that instead of copying another in, or rename one";
    return refusal(path, Error(error.code(), message, error.errno_value()));
  }

  // Of the version before, what is neither this disk nor its boot files goes: a version has what
  // was published, and nothing by accident.
  Status bring_disk_alone() {
    const std::string name = marks_.target->inside;
    std::string boot;
    if (marks_.boot) boot = first_component(marks_.boot->inside);
    ICBD_ASSIGN(const auto present, list_beneath(draft_.root_fd(), ""));
    for (const std::string& other : present) {
      if (other == name || other == boot) continue;
      ICBD_TRY(remove_beneath(draft_.root_fd(), other));
      composition_.warnings.push_back(fmt::format(
          "{} of the version before is not in this one: a disk was published", quote(other)));
    }
    return bring_disk(source_.path, *source_.image, name);
  }

  Status bring_disk(const std::filesystem::path& path, const DiskImage& image,
                    const std::string& name) {
    const Status done = image.format == "raw" ? bring_raw(path, image.size, name)
                                              : bring_converted(path, image, name);
    for (const std::string& file : image.backing_files)
      composition_.notes.push_back(
          fmt::format("the disk includes its backing file {}", quote(file)));
    if (!done) return std::unexpected(explain(path, done.error()));
    return {};
  }

  Status bring_raw(const std::filesystem::path& path, std::uint64_t size, const std::string& name) {
    ICBD_ASSIGN(const unique_fd from, open_disk_image(path));
    ICBD_ASSIGN(const struct statx before, read_status(from.get(), name));
    ICBD_ASSIGN(const bool share, shares(repository_, path, from.get()));
    ICBD_ASSIGN(const Place place, make_place(name));
    if (!share && !place.existed) {
      ICBD_ASSIGN(const std::uint64_t bytes, bytes_with_data(from.get(), size));
      ICBD_TRY(check_room(repository_, bytes));
    }
    begin_phase(PublishPhase::copying, size);
    ICBD_TRY(copy_content(
        from.get(), place.fd.get(), size,
        {.share = share, .bytes_done = &progress_.bytes_done, .cancelled = &progress_.cancelled}));
    ICBD_TRY(check_unchanged(from.get(), before));
    return finish_disk(place.fd.get(), before);
  }

  Status check_unchanged(int fd, const struct statx& before) {
    ICBD_ASSIGN(const struct statx after, read_status(fd, ""));
    if (after.stx_ctime.tv_sec == before.stx_ctime.tv_sec &&
        after.stx_ctime.tv_nsec == before.stx_ctime.tv_nsec && after.stx_size == before.stx_size)
      return {};
    if (!request_.allow_changing) return fail(ErrorCode::busy, "it changed while it was read");
    composition_.warnings.emplace_back("the disk changed while it was read");
    return {};
  }

  // Into a file of its own first: qemu-img writes everything, and what did not change must stay as
  // it is.
  Status bring_converted(const std::filesystem::path& path, const DiskImage& image,
                         const std::string& name) {
    ICBD_ASSIGN(const unique_fd from, open_disk_image(path));
    ICBD_ASSIGN(const struct statx before, read_status(from.get(), name));
    ICBD_ASSIGN(const std::uint64_t bytes, measure_raw(path, image, &progress_.cancelled));
    ICBD_TRY(check_room(repository_, bytes));
    const std::string converted = ".converted-" + Uuid::random().to_string();
    begin_phase(PublishPhase::converting, bytes);
    ICBD_TRY(convert_to_raw(path, image, draft_.path() / converted,
                            {.bytes_total = bytes,
                             .bytes_done = &progress_.bytes_done,
                             .cancelled = &progress_.cancelled}));
    ICBD_TRY(check_unchanged(from.get(), before));
    ICBD_TRY(take_over(converted, name, image.size));
    ICBD_ASSIGN(const unique_fd disk, open_beneath(draft_.root_fd(), name, O_RDWR | O_NOFOLLOW));
    return finish_disk(disk.get(), before);
  }

  // Reflinking single blocks of the new file would keep all of its extents alive: they are copied.
  Status take_over(const std::string& converted, const std::string& name, std::uint64_t size) {
    ICBD_ASSIGN(const Place place, make_place(name));
    if (place.existed) {
      ICBD_ASSIGN(const unique_fd from,
                  open_beneath(draft_.root_fd(), converted, O_RDONLY | O_NOFOLLOW));
      begin_phase(PublishPhase::copying, size);
      ICBD_TRY(copy_content(from.get(), place.fd.get(), size,
                            {.share = false,
                             .bytes_done = &progress_.bytes_done,
                             .cancelled = &progress_.cancelled}));
      return remove_beneath(draft_.root_fd(), converted);
    }
    if (renameat(draft_.root_fd(), converted.c_str(), draft_.root_fd(), name.c_str()) != 0)
      return fail_errno(fmt::format("rename {}", quote(converted)));
    return {};
  }

  struct Place {
    unique_fd fd;
    bool existed = false;  // with content of the version before
  };

  // A regular file of this name at the top, and of no other name.
  Result<Place> make_place(const std::string& name) {
    const int root = draft_.root_fd();
    if (const auto there = open_beneath(root, name, O_PATH | O_NOFOLLOW)) {
      ICBD_ASSIGN(const struct statx status, read_status(there->get(), name));
      if (S_ISREG(status.stx_mode) && status.stx_nlink == 1) {
        ICBD_TRY(set_attributes(root, name, 0));
        ICBD_ASSIGN(unique_fd fd, open_beneath(root, name, O_RDWR | O_NOFOLLOW));
        return Place{.fd = std::move(fd), .existed = true};
      }
      ICBD_TRY(remove_beneath(root, name));
    }
    constexpr mode_t mode = 0600;
    ICBD_ASSIGN(unique_fd fd,
                open_beneath(root, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, mode));
    const bool seeded = seed(fd.get(), name);
    return Place{.fd = std::move(fd), .existed = seeded};
  }

  // A subvolume has not got the disk of the version before: its blocks are shared from there.
  bool seed(int fd, const std::string& name) {
    if (!parent_root_) return false;
    const auto old = open_beneath(parent_root_.get(), name, O_RDONLY | O_NOFOLLOW);
    return old && btrfs::clone_range(old->get(), 0, fd, 0, 0).has_value();
  }

  // Users and groups are those of the machine it came from; nobody may execute a disk.
  Status finish_disk(int fd, const struct statx& source) {
    constexpr mode_t bits = 0666;
    const std::array<timespec, 2> times{
        {{.tv_sec = 0, .tv_nsec = UTIME_OMIT},
         {.tv_sec = source.stx_mtime.tv_sec, .tv_nsec = source.stx_mtime.tv_nsec}}};
    if (fchown(fd, 0, 0) != 0 || fchmod(fd, source.stx_mode & bits) != 0 ||
        futimens(fd, times.data()) != 0)
      return fail_errno("set mode and time of the disk");
    return {};
  }

  Status copy_in() {
    if (!is_copied_in(marks_.boot) && !is_copied_in(marks_.target)) return {};
    const KeptTimes times(draft_.root_fd());
    if (source_.kind == SourceKind::subvolume) ICBD_TRY(check_names_are_free());
    if (is_copied_in(marks_.target))
      ICBD_TRY(bring_disk(marks_.target->outside, *marks_.target->image, marks_.target->inside));
    return is_copied_in(marks_.boot) ? bring_boot(*marks_.boot) : Status();
  }

  Status check_names_are_free() {
    for (const std::string& name : copied_names(marks_))
      if (open_beneath(draft_.root_fd(), name, O_PATH | O_NOFOLLOW))
        return std::unexpected(explain(
            source_.path, Error(ErrorCode::already_exists,
                                fmt::format("the source has a {} of its own", quote(name)))));
    return {};
  }

  Status bring_boot(const Mark& boot) {
    const int root = draft_.root_fd();
    constexpr mode_t mode = 0755;
    if (mkdirat(root, boot.inside.c_str(), mode) != 0 && errno != EEXIST)
      return fail_errno(fmt::format("make {}", quote(boot.inside)));
    if (!open_beneath(root, boot.inside, O_PATH | O_DIRECTORY | O_NOFOLLOW)) {
      ICBD_TRY(remove_beneath(root, boot.inside));
      if (mkdirat(root, boot.inside.c_str(), mode) != 0)
        return fail_errno(fmt::format("make {}", quote(boot.inside)));
    }
    ICBD_ASSIGN(const unique_fd to,
                open_beneath(root, boot.inside, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    ICBD_ASSIGN(const unique_fd from, open_file(boot.outside, O_RDONLY | O_DIRECTORY));
    ICBD_ASSIGN(const bool share, shares(repository_, boot.outside, from.get()));
    SyncOptions options = sync_options(share);
    options.isolated = true;
    return bring_tree(boot.outside, to.get(), options);
  }

  // What was marked in the version before and is there no more is no longer marked; what somebody
  // asked for has to be there.
  Status check_marks() {
    ICBD_TRY(check_one(marks_.boot, check_boot, composition_.boot_directory, "boot files"));
    return check_one(marks_.target, check_target, composition_.target_file, "target");
  }

  Status check_one(const std::optional<Mark>& mark, Status (*check)(int, const std::string&),
                   std::string& marked, std::string_view what) {
    if (!mark) return {};
    const Status there = check(draft_.root_fd(), mark->inside);
    if (there) {
      marked = mark->inside;
      if (mark->inherited)
        composition_.notes.push_back(
            fmt::format("{}: {}, as in the version before", what, quote(mark->inside)));
      return {};
    }
    if (!mark->inherited) return std::unexpected(refusal(source_.path, there.error()));
    composition_.warnings.push_back(
        fmt::format("{}: {} of the version before is not in this one, so nothing is marked", what,
                    quote(mark->inside)));
    return {};
  }

  Repository& repository_;
  const PublishRequest& request_;
  const PublishSource& source_;
  const Marks& marks_;
  const std::optional<catalog::Version>& parent_;
  Draft& draft_;
  PublishProgress& progress_;
  unique_fd parent_root_;
  Composition composition_;
};

// A disk against the file that it will be compared with.
Result<std::uint64_t> estimate_disk(Repository& repository, const std::filesystem::path& path,
                                    const DiskImage& image, int parent_root,
                                    const std::string& name) {
  if (image.format != "raw") return measure_raw(path, image, nullptr);
  ICBD_ASSIGN(const unique_fd disk, open_disk_image(path));
  ICBD_ASSIGN(const bool share, shares(repository, path, disk.get()));
  if (share && parent_root >= 0)
    if (const auto before = open_beneath(parent_root, name, O_RDONLY | O_NOFOLLOW))
      return differing_bytes(disk.get(), before->get(), image.size);
  return bytes_with_data(disk.get(), image.size);
}

}  // namespace

Result<Composition> compose(Repository& repository, const PublishRequest& request,
                            const PublishSource& source, const Marks& marks,
                            const std::optional<catalog::Version>& parent, Draft& draft,
                            PublishProgress& progress) {
  return Composer(repository, request, source, marks, parent, draft, progress).run();
}

Result<Estimate> estimate(Repository& repository, const PublishRequest& request,
                          const PublishSource& source, const Marks& marks,
                          const std::optional<catalog::Version>& parent) {
  unique_fd parent_root;
  if (parent)
    if (auto root = repository.open_version(parent->facts.image, parent->facts.number))
      parent_root = std::move(*root);
  Estimate estimate;
  const auto add_tree = [&](const std::filesystem::path& path, int against,
                            SyncOptions options) -> Status {
    ICBD_ASSIGN(const unique_fd from, open_file(path, O_RDONLY | O_DIRECTORY));
    ICBD_ASSIGN(options.share, shares(repository, path, from.get()));
    options.estimate = true;
    const auto plan = plan_sync(from.get(), against, options);
    if (!plan) return std::unexpected(refusal(path, plan.error()));
    estimate.bytes_to_read += plan->bytes_to_read;
    estimate.warnings.insert(estimate.warnings.end(), plan->warnings.begin(), plan->warnings.end());
    return {};
  };
  const auto add_disk = [&](const std::filesystem::path& path, const DiskImage& image) -> Status {
    const auto bytes =
        estimate_disk(repository, path, image, parent_root.get(), marks.target->inside);
    if (!bytes) return std::unexpected(refusal(path, bytes.error()));
    estimate.bytes_to_read += *bytes;
    return {};
  };
  SyncOptions options{.checksum = request.checksum,
                      .allow_changing = true,
                      .share = false,
                      .reserved = copied_names(marks),
                      .isolated = false,
                      .estimate = true,
                      .forbidden = {}};
  ICBD_ASSIGN(options.forbidden, file_identity(repository.directory_fd()));
  if (source.image)
    ICBD_TRY(add_disk(source.path, *source.image));
  else
    ICBD_TRY(add_tree(source.path, parent_root.get(), options));
  if (is_copied_in(marks.target)) ICBD_TRY(add_disk(marks.target->outside, *marks.target->image));
  if (is_copied_in(marks.boot)) {
    options.reserved.clear();
    unique_fd boot;
    if (parent_root)
      if (auto there = open_beneath(parent_root.get(), marks.boot->inside,
                                    O_PATH | O_DIRECTORY | O_NOFOLLOW))
        boot = std::move(*there);
    ICBD_TRY(add_tree(marks.boot->outside, boot.get(), options));
  }
  return estimate;
}

}  // namespace icbd::repository
