#include <array>

#include "command.h"

namespace icbd::cli {

std::span<const Command> commands() {
  static constexpr std::array table = {
      Command{group_looking, "list", "List the images, or the versions of one", define_list},
      Command{group_looking, "show", "Show an image or a version", define_show},
      Command{group_looking, "status", "Show how the server is doing", define_status},
      Command{group_looking, "holds", "Show what keeps versions from being dropped", define_holds},
      Command{group_looking, "wait", "Wait until a version is complete on the server", define_wait},
      Command{group_versions, "publish", "Make a subvolume the next version of an image",
              define_publish},
      Command{group_versions, "tag", "Let a tag stand for a version", define_tag},
      Command{group_versions, "untag", "Remove a tag", define_untag},
      Command{group_versions, "adopt",
              "Make snapshots that are there already versions, where they are", define_adopt},
      Command{group_versions, "pull", "Have a cache fetch all of a version", define_pull},
      Command{group_versions, "push", "Have another cache fetch all of a version", define_push},
      Command{group_versions, "drop", "Free the room that versions take on a cache", define_drop},
      Command{group_versions, "pin", "Keep a version from being dropped", define_pin},
      Command{group_versions, "unpin", "Let a version be dropped again", define_unpin},
      Command{group_versions, "send", "Write a version as a send stream", define_send},
      Command{group_versions, "verify", "Read a version and compare it with its manifest",
              define_verify},
      Command{group_subscriptions, "subscribe", "Keep an image complete on a cache",
              define_subscribe},
      Command{group_subscriptions, "unsubscribe", "Keep an image complete no longer",
              define_unsubscribe},
      Command{group_subscriptions, "subscriptions", "Show what is kept complete, and how far it is",
              define_subscriptions},
      Command{group_here, "fsck", "Check a repository whose daemon is stopped", define_fsck},
      Command{group_here, "receive", "Make read-only subvolumes of send streams", define_receive,
              exit_failed},
      Command{group_here, "upgrade", "Replace a cache's worker while its mount is in use",
              define_upgrade},
      Command{group_here, "config", "Check, show or print a configuration", define_config},
      Command{group_here, "doctor", "Look at this machine: what is missing, and what to do",
              define_doctor},
      Command{group_here, "completion", "Print the completion for a shell", define_completion},
  };
  return table;
}

}  // namespace icbd::cli
