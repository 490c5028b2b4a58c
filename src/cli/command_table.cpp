#include <array>

#include "command.h"

namespace icbd::cli {

std::span<const Command> commands() {
  static constexpr std::array table = {
      Command{group_looking, "list", "List the images, or the versions of one", define_list},
      Command{group_looking, "status", "Show how the server is doing", define_status},
      Command{group_looking, "wait", "Wait until a version is complete on the server", define_wait},
      Command{group_versions, "publish", "Make a subvolume the next version of an image",
              define_publish},
      Command{group_versions, "adopt",
              "Make read-only snapshots that are there already versions, where they are",
              define_adopt},
      Command{group_here, "fsck", "Check a repository whose daemon is stopped", define_fsck},
      Command{group_here, "receive", "Make a read-only subvolume of a send stream, on this machine",
              define_receive},
  };
  return table;
}

}  // namespace icbd::cli
