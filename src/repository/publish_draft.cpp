#include "publish_draft.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "icbd/base/file.h"
#include "icbd/btrfs/subvolume.h"

#include "remove.h"

namespace icbd::repository {

Draft::Draft(Repository& repository, std::string image, VersionNumber number)
    : layout_(repository.directory()),
      logger_(repository.logger()),
      image_(std::move(image)),
      number_(number) {}

Draft::~Draft() {
  if (kept_) return;
  root_.reset();
  for (const Status& removed :
       {remove_subvolume(path()), remove_file(facts()), remove_file(manifest())})
    if (!removed) logger_->error("after a failed publication: {}", removed.error().message());
  if (number_ == VersionNumber(1)) remove_directories();
}

Status Draft::begin_as(const std::filesystem::path& subvolume) {
  ICBD_TRY(remove_file(manifest()));
  ICBD_TRY(btrfs::create_snapshot(subvolume, path(), false));
  ICBD_ASSIGN(root_, open_file(path(), O_RDONLY | O_DIRECTORY));
  return {};
}

Status Draft::begin_empty() {
  constexpr mode_t everybody_reads = 0755;  // whatever the umask of the daemon
  ICBD_TRY(remove_file(manifest()));
  ICBD_TRY(btrfs::create_subvolume(path()));
  ICBD_ASSIGN(root_, open_file(path(), O_RDONLY | O_DIRECTORY));
  if (fchmod(root_.get(), everybody_reads) != 0) return fail_errno("fchmod");
  return {};
}

Status Draft::take() {
  ICBD_TRY(remove_file(manifest()));
  ICBD_ASSIGN(root_, open_file(path(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  return {};
}

Status Draft::seal() {
  return btrfs::set_read_only(root_.get(), true);
}

Status Draft::rename_into_place() {
  return rename_new(path(), layout_.version(image_, number_));
}

// Those of an image that is new with this version, as far as nobody has put anything in.
void Draft::remove_directories() const {
  for (const auto& directory :
       {layout_.image(image_), layout_.manifests() / image_, layout_.pending_maps() / image_})
    rmdir(directory.c_str());
}

}  // namespace icbd::repository
