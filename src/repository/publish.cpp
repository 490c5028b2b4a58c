#include "icbd/repository/publish.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "icbd/base/clock.h"
#include "icbd/base/file.h"
#include "icbd/btrfs/subvolume.h"
#include "icbd/catalog/names.h"

#include "facts_file.h"
#include "filesystem_type.h"
#include "layout.h"
#include "previous_version.h"
#include "remove.h"

namespace icbd::repository {
namespace {

using catalog::Version;
using catalog::VersionState;

bool is_within(const std::filesystem::path& path, const std::filesystem::path& directory) {
  const auto [end, rest] = std::ranges::mismatch(directory, path);
  return end == directory.end();
}

std::unexpected<Error> refuse(ErrorCode code, const std::filesystem::path& path,
                              std::string_view why) {
  return fail(code, fmt::format("cannot publish {}: {}", path.string(), why));
}

// A snapshot goes into the repository, so source and repository have to be of one filesystem, and
// neither may be inside the other: the version would contain the versions.
Status check_place(const Repository& repository, const std::filesystem::path& path) {
  ICBD_ASSIGN(const unique_fd source, open_file(path, O_RDONLY | O_DIRECTORY));
  ICBD_ASSIGN(const Uuid source_filesystem, btrfs::filesystem_uuid(source.get()));
  ICBD_ASSIGN(const Uuid own_filesystem, btrfs::filesystem_uuid(repository.directory_fd()));
  const std::string directory = repository.directory().string();
  if (source_filesystem != own_filesystem)
    return refuse(ErrorCode::invalid_argument, path,
                  fmt::format("it is on another filesystem than the repository {}", directory));
  if (is_within(path, repository.directory()))
    return refuse(ErrorCode::invalid_argument, path,
                  fmt::format("it is inside the repository {}", directory));
  ICBD_ASSIGN(const auto source_info, btrfs::subvolume_info(source.get()));
  ICBD_ASSIGN(const auto own_info, btrfs::subvolume_info(repository.directory_fd()));
  if (source_info.id == own_info.id)
    return refuse(ErrorCode::invalid_argument, path,
                  fmt::format("the repository {} is part of this subvolume", directory));
  return {};
}

// The subvolume's path without symlinks.
Result<std::filesystem::path> find_source(const Repository& repository,
                                          const std::filesystem::path& path) {
  if (!path.is_absolute())
    return refuse(ErrorCode::invalid_argument, path, "the path has to be absolute");
  std::error_code error;
  auto source = std::filesystem::canonical(path, error);
  if (error) return fail_errno(fmt::format("cannot publish {}", path.string()), error.value());
  ICBD_ASSIGN(const bool is_btrfs, btrfs::is_btrfs(source));
  if (!is_btrfs)
    return refuse(ErrorCode::invalid_argument, path,
                  fmt::format("it is on {}, not on BTRFS", filesystem_type(source)));
  ICBD_ASSIGN(const bool is_subvolume, btrfs::is_subvolume(source));
  if (!is_subvolume)
    return refuse(ErrorCode::invalid_argument, path,
                  "it is not the root of a subvolume (btrfs subvolume create makes one)");
  ICBD_TRY(check_place(repository, source));
  return source;
}

Status check_words(const PublishRequest& request) {
  ICBD_TRY(catalog::check_image_name(request.image));
  if (request.message.size() > limits::message_length)
    return fail(ErrorCode::too_large, fmt::format("the message has {} bytes, at most {} are kept",
                                                  request.message.size(), limits::message_length));
  return {};
}

// What a publication leaves on disk before it is committed; removed unless keep() was called.
class Draft {
 public:
  Draft(Repository& repository, std::string image, VersionNumber number)
      : layout_(repository.directory()),
        logger_(repository.logger()),
        image_(std::move(image)),
        number_(number) {}
  Draft(const Draft&) = delete;
  Draft& operator=(const Draft&) = delete;
  ~Draft() {
    if (kept_) return;
    root_.reset();
    for (const Status& removed :
         {remove_subvolume(subvolume()), remove_file(facts()), remove_file(manifest())})
      if (!removed) logger_->error("after a failed publication: {}", removed.error().message());
    if (number_ == VersionNumber(1)) remove_directories();
  }

  // A snapshot that was never writable would keep the received UUID of its source.
  Status take_snapshot(const std::filesystem::path& source) {
    ICBD_TRY(remove_file(manifest()));
    ICBD_TRY(btrfs::create_snapshot(source, subvolume(), false));
    ICBD_ASSIGN(root_, open_file(subvolume(), O_RDONLY | O_DIRECTORY));
    return btrfs::set_read_only(root_.get(), true);
  }

  int root_fd() const { return root_.get(); }
  std::filesystem::path facts() const { return layout_.facts(image_, number_); }
  void keep() { kept_ = true; }
  Status rename_into_place() { return rename_new(subvolume(), layout_.version(image_, number_)); }

 private:
  // Those of an image that is new with this version, as far as nobody has put anything in.
  void remove_directories() const {
    for (const auto& directory :
         {layout_.image(image_), layout_.manifests() / image_, layout_.pending_maps() / image_})
      rmdir(directory.c_str());
  }

  std::filesystem::path subvolume() const { return layout_.publishing(image_, number_); }
  std::filesystem::path manifest() const { return layout_.manifest(image_, number_); }

  Layout layout_;
  Logger logger_;
  std::string image_;
  VersionNumber number_;
  unique_fd root_;
  bool kept_ = false;
};

catalog::VersionFacts facts_of(const PublishRequest& request, VersionNumber number,
                               const BuiltManifest& built, const btrfs::SubvolumeInfo& info) {
  catalog::VersionFacts facts = facts_from(built, info);
  facts.image = request.image;
  facts.number = number;
  facts.message = request.message;
  facts.published = SystemClock().wall();
  return facts;
}

// A crash before the catalog's commit leaves a hidden subvolume that recovery removes; one after
// it leaves a version that recovery renames. Until it is renamed, open_version() knows where it is.
Result<Version> commit(Repository& repository, Draft& draft, const catalog::VersionFacts& facts) {
  ICBD_TRY(btrfs::sync_filesystem(draft.root_fd()));
  ICBD_TRY(write_facts(draft.facts(), {.facts = facts}));
  ICBD_ASSIGN(const VersionSerial serial,
              repository.catalog().add_version(facts, VersionState::complete));
  draft.keep();
  if (const Status renamed = draft.rename_into_place(); !renamed)
    return std::unexpected(renamed.error().with_context(
        fmt::format("{}@{} is published, but gets its name only at the next start", facts.image,
                    facts.number.value())));
  return repository.catalog().version(serial);
}

}  // namespace

Result<PublishReport> publish(Repository& repository, const PublishRequest& request,
                              PublishProgress& progress) {
  ICBD_TRY(check_words(request));
  const auto publishing = repository.try_lock_publishing();
  if (!publishing)
    return fail(ErrorCode::busy, "another version is being published; try again when it is done");
  ICBD_ASSIGN(const auto source, find_source(repository, request.path));
  ICBD_ASSIGN(const VersionNumber number, repository.catalog().next_number(request.image));
  ICBD_ASSIGN(const auto parent, newest_complete(repository, request.image));

  Draft draft(repository, request.image, number);
  ICBD_TRY(repository.prepare_image(request.image));
  ICBD_TRY(draft.take_snapshot(source));
  ICBD_ASSIGN(const auto pages, repository.pages(request.image, number, true));
  ICBD_ASSIGN(auto built,
              build_next_manifest(repository, draft.root_fd(), parent, *pages, progress));
  ICBD_TRY(pages->sync());
  ICBD_ASSIGN(const auto info, btrfs::subvolume_info(draft.root_fd()));
  auto facts = facts_of(request, number, built, info);
  if (parent) facts.parent = parent->facts.number;

  ICBD_ASSIGN(auto version, commit(repository, draft, facts));
  PublishReport report = report_of(std::move(built), std::move(version));
  repository.logger()->info("published {}@{}: {} entries, {} bytes read, {} taken over",
                            facts.image, number.value(), facts.entries, report.bytes_hashed,
                            report.bytes_inherited);
  return report;
}

}  // namespace icbd::repository
