#include "session.h"

namespace icbd::applier {

using namespace sendstream;

Status Session::operator()(const Subvolume& command) {
  identity_ = Applier::Identity{
      .uuid = command.uuid, .transaction_id = command.transaction_id, .parent_uuid = std::nullopt};
  return remember_root_times();
}

Status Session::operator()(const Snapshot& command) {
  // Clone names its source by UUID: with one UUID for both it would not say which is meant.
  if (command.uuid == command.parent_uuid)
    return fail(ErrorCode::corrupt, "the version and its parent have the same UUID");
  identity_ = Applier::Identity{.uuid = command.uuid,
                                .transaction_id = command.transaction_id,
                                .parent_uuid = command.parent_uuid};
  return remember_root_times();
}

Status Session::operator()(const End&) {
  ICBD_TRY(check_verity());
  ICBD_TRY(set_root_times());
  ICBD_TRY(set_late_flags());
  // An open descriptor could still write when the subvolume is read-only.
  tree_.forget_all();
  foreign_.reset();
  return {};
}

}  // namespace icbd::applier
