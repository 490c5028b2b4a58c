#include "publish_source.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>

#include "icbd/base/file.h"
#include "icbd/base/quote.h"
#include "icbd/btrfs/subvolume.h"
#include "icbd/catalog/names.h"

#include "beneath.h"
#include "filesystem_type.h"
#include "inode_facts.h"

namespace icbd::repository {
namespace {

constexpr const char* default_disk_name = "disk.raw";
constexpr const char* boot_name = "boot";

bool is_within(const std::filesystem::path& path, const std::filesystem::path& directory) {
  const auto [end, rest] = std::ranges::mismatch(directory, path);
  return end == directory.end();
}

std::unexpected<Error> refuse(ErrorCode code, const std::filesystem::path& path,
                              std::string_view why) {
  return std::unexpected(refusal(path, Error(code, std::string(why))));
}

Result<std::filesystem::path> resolve(const std::filesystem::path& path) {
  if (!path.is_absolute())
    return refuse(ErrorCode::invalid_argument, path, "the path has to be absolute");
  std::error_code error;
  auto found = std::filesystem::canonical(path, error);
  if (error) return fail_errno(fmt::format("cannot publish {}", path.string()), error.value());
  return found;
}

Result<bool> on_filesystem_of(const Repository& repository, const std::filesystem::path& path,
                              int fd) {
  ICBD_ASSIGN(const bool is_btrfs, btrfs::is_btrfs(path));
  if (!is_btrfs) return false;
  ICBD_ASSIGN(const Uuid source, btrfs::filesystem_uuid(fd));
  ICBD_ASSIGN(const Uuid own, btrfs::filesystem_uuid(repository.directory_fd()));
  return source == own;
}

// The version would contain the versions.
Status check_place(const Repository& repository, const std::filesystem::path& path) {
  if (!is_within(path, repository.directory())) return {};
  return refuse(ErrorCode::invalid_argument, path,
                fmt::format("it is inside the repository {}", repository.directory().string()));
}

Status check_subvolume(const Repository& repository, const PublishSource& source, int fd) {
  ICBD_ASSIGN(const auto source_info, btrfs::subvolume_info(fd));
  ICBD_ASSIGN(const auto own_info, btrfs::subvolume_info(repository.directory_fd()));
  if (source_info.id != own_info.id) return {};
  return refuse(
      ErrorCode::invalid_argument, source.path,
      fmt::format("the repository {} is part of this subvolume", repository.directory().string()));
}

// A disk: what is published, or a target that is copied in.
Result<DiskImage> inspect(const std::filesystem::path& path, const std::string& format,
                          const std::atomic<bool>* cancelled) {
  auto image = inspect_disk_image(path, format, cancelled);
  if (!image) return std::unexpected(refusal(path, image.error()));
  return image;
}

Status check_disk_name(const std::string& name) {
  if (!name.empty() && !name.contains('/') && catalog::check_marked_path(name)) return {};
  return fail(ErrorCode::invalid_argument,
              fmt::format("{} is no name for a disk: one without directories", quote(name)));
}

// As in the version before, if it had one at the top.
std::string disk_name(const PublishRequest& request, const catalog::VersionFacts* parent) {
  if (!request.disk_name.empty()) return request.disk_name;
  if (parent && !parent->target_file.empty() && !parent->target_file.contains('/'))
    return parent->target_file;
  return default_disk_name;
}

// What an option names, as far as it lies in the source; else the path outside of it.
Result<Mark> locate(const PublishSource& source, const std::filesystem::path& wanted) {
  const bool is_tree = source.kind != SourceKind::disk_image;
  if (!is_tree && wanted.is_relative())
    return refuse(ErrorCode::invalid_argument, wanted,
                  "what is published is a file, so this cannot be inside of it: give an absolute "
                  "path");
  std::error_code error;
  const auto path = std::filesystem::canonical(source.path / wanted, error);
  if (error)
    return fail_errno(fmt::format("cannot publish {}", (source.path / wanted).string()),
                      error.value());
  if (!is_tree || !is_within(path, source.path)) {
    if (wanted.is_absolute()) return Mark{.inside = {}, .outside = path};
    return refuse(ErrorCode::invalid_argument, wanted, "it leads out of what is published");
  }
  const std::string inside = path.lexically_relative(source.path).string();
  if (inside == ".")
    return refuse(ErrorCode::invalid_argument, wanted,
                  "it is all that is published: mark a part of it");
  ICBD_TRY(catalog::check_marked_path(inside));
  return Mark{.inside = inside};
}

Result<std::optional<Mark>> plan_boot(const Repository& repository, const PublishSource& source,
                                      const PublishRequest& request,
                                      const catalog::VersionFacts* parent) {
  if (!request.boot) {
    if (!parent || parent->boot_directory.empty()) return std::nullopt;
    return Mark{.inside = parent->boot_directory, .inherited = true};
  }
  if (request.boot->empty()) return std::nullopt;
  ICBD_ASSIGN(Mark mark, locate(source, *request.boot));
  if (mark.outside.empty()) return mark;
  if (!std::filesystem::is_directory(mark.outside))
    return refuse(ErrorCode::invalid_argument, mark.outside, "boot files are a directory");
  ICBD_TRY(check_place(repository, mark.outside));
  mark.inside = boot_name;
  return mark;
}

Result<std::optional<Mark>> plan_target(const Repository& repository, const PublishSource& source,
                                        const PublishRequest& request,
                                        const catalog::VersionFacts* parent,
                                        const std::atomic<bool>* cancelled) {
  if (source.kind == SourceKind::disk_image) {
    if (request.target)
      return fail(ErrorCode::invalid_argument,
                  "a disk that is published is the target itself: leave --target out");
    return Mark{.inside = disk_name(request, parent)};
  }
  if (!request.target) {
    if (!parent || parent->target_file.empty()) return std::nullopt;
    return Mark{.inside = parent->target_file, .inherited = true};
  }
  if (request.target->empty()) return std::nullopt;
  ICBD_ASSIGN(Mark mark, locate(source, *request.target));
  if (mark.outside.empty()) return mark;
  if (!std::filesystem::is_regular_file(mark.outside))
    return refuse(ErrorCode::invalid_argument, mark.outside, "a target is a regular file");
  ICBD_TRY(check_place(repository, mark.outside));
  ICBD_ASSIGN(mark.image, inspect(mark.outside, request.format, cancelled));
  mark.inside = disk_name(request, parent);
  return mark;
}

// What the kernel makes up while it is read is nothing to be kept.
Status check_keeps_files(const std::filesystem::path& path) {
  static constexpr std::array<std::string_view, 9> made_up = {"proc",    "sysfs",   "devtmpfs",
                                                              "devpts",  "cgroup",  "cgroup2",
                                                              "debugfs", "tracefs", "securityfs"};
  const std::string type = filesystem_type(path);
  if (std::ranges::find(made_up, type) == made_up.end()) return {};
  return refuse(
      ErrorCode::invalid_argument, path,
      fmt::format("it is on {}, whose files the kernel makes up while they are read", type));
}

}  // namespace

std::string_view PublishSource::name() const {
  if (image) return image->format;
  return kind == SourceKind::subvolume ? "subvolume" : "directory";
}

Error refusal(const std::filesystem::path& path, const Error& error) {
  return error.with_context(fmt::format("cannot publish {}", path.string()));
}

Result<PublishSource> find_source(const Repository& repository, const PublishRequest& request,
                                  const std::atomic<bool>* cancelled) {
  PublishSource source;
  ICBD_ASSIGN(source.path, resolve(request.path));
  ICBD_TRY(check_place(repository, source.path));
  const auto status = std::filesystem::status(source.path);
  const bool is_directory = std::filesystem::is_directory(status);
  if (!is_directory && !std::filesystem::is_regular_file(status))
    return refuse(ErrorCode::invalid_argument, request.path,
                  "it is neither a directory nor a regular file");
  const auto fd = open_file(source.path, O_RDONLY | O_NONBLOCK);
  if (!fd) return std::unexpected(refusal(source.path, fd.error()));
  ICBD_ASSIGN(source.same_filesystem, on_filesystem_of(repository, source.path, fd->get()));
  if (!is_directory) {
    source.kind = SourceKind::disk_image;
    ICBD_ASSIGN(source.image, inspect(source.path, request.format, cancelled));
    return source;
  }
  if (!source.same_filesystem) {
    ICBD_TRY(check_keeps_files(source.path));
    return source;
  }
  ICBD_ASSIGN(const bool is_subvolume, btrfs::is_subvolume(source.path));
  if (!is_subvolume) return source;
  source.kind = SourceKind::subvolume;
  ICBD_TRY(check_subvolume(repository, source, fd->get()));
  return source;
}

Result<Marks> plan_marks(const Repository& repository, const PublishSource& source,
                         const PublishRequest& request, const catalog::VersionFacts* parent,
                         const std::atomic<bool>* cancelled) {
  if (!request.disk_name.empty()) ICBD_TRY(check_disk_name(request.disk_name));
  Marks marks;
  ICBD_ASSIGN(marks.boot, plan_boot(repository, source, request, parent));
  ICBD_ASSIGN(marks.target, plan_target(repository, source, request, parent, cancelled));
  const bool has_disk =
      source.image || (marks.target && marks.target->image);  // one that gets a name here
  if (!has_disk && (!request.disk_name.empty() || !request.format.empty()))
    return fail(ErrorCode::invalid_argument,
                "--as and --format are for a disk that is published as a file, or copied in by "
                "--target");
  if (has_disk && marks.target->inside == boot_name && marks.boot)
    return fail(ErrorCode::invalid_argument, "boot files and disk cannot have the same name");
  return marks;
}

Status check_boot(int root_fd, const std::string& path) {
  const auto fd = open_beneath(root_fd, path, O_PATH | O_NOFOLLOW | O_DIRECTORY);
  if (fd) return {};
  return fail(ErrorCode::invalid_argument,
              fmt::format("boot files: {} is no directory in what is published", quote(path)));
}

Status check_target(int root_fd, const std::string& path) {
  const auto fd = open_beneath(root_fd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!fd)
    return fail(ErrorCode::invalid_argument,
                fmt::format("target: there is no {} in what is published", quote(path)));
  ICBD_ASSIGN(const struct statx status, read_status(fd->get(), path));
  if (!S_ISREG(status.stx_mode) || status.stx_size == 0 || status.stx_size % sector_size != 0)
    return fail(ErrorCode::invalid_argument,
                fmt::format("target: {} is no disk: a file whose size is a multiple of {}",
                            quote(path), sector_size));
  ICBD_ASSIGN(const bool other, is_other_format(fd->get(), path));
  if (!other) return {};
  return fail(
      ErrorCode::invalid_argument,
      fmt::format("target: {} is no raw disk, and is not converted where it is: move it out "
                  "of what is published and name it there",
                  quote(path)));
}

}  // namespace icbd::repository
