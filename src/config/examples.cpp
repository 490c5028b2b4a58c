#include "icbd/config/config.h"

namespace icbd::config {

std::string_view example_master() {
  return R"toml(# icbd-master: publishes versions of images and serves them to caches.

# All that caches and clients are sent is plain text. Without this, the addresses below must be on
# this machine (127.0.0.1, [::1] or localhost).
insecure_plaintext = false

[repository]
# An existing directory on BTRFS, for icbd alone. Required.
path = "/srv/icbd"

[rest]
# Where the command line and other clients are answered. Port 0: the kernel chooses one.
listen = "127.0.0.1:5009"

[data]
# Where caches fetch from.
listen = "127.0.0.1:5010"

[view]
# Where the images are seen on this machine too. Empty: nowhere.
mountpoint = ""
# As on a cache.
directories = []

[log]
# debug, info, warning or error
level = "info"
)toml";
}

std::string_view example_cache() {
  return R"toml(# icbd-cache: shows all versions of a master's images and fetches what is read.

# All that clients are sent is plain text. Without this, [rest] listen must be on this machine
# (127.0.0.1, [::1] or localhost).
insecure_plaintext = false

[repository]
# An existing directory on BTRFS, for icbd alone, outside the mountpoint. Required.
path = "/srv/icbd"
# What arrivals leave unallocated on the filesystem, so that it never fills up to where nothing
# can be deleted any more: bytes, or "8 GiB". 0: 2 % of it, at least 64 MiB, at most 4 GiB.
reserve = 0

[view]
# Where the images are seen.
mountpoint = "/var/lib/icbd"
# Directories of the site's own beside the images, which cannot have their names: "NAME" is an
# empty one, for others to mount on; on "NAME=/PATH" the local directory /PATH is mounted.
# For example ["nfs_home", "iso=/srv/iso"].
directories = []
# What the system's table of mounts says it comes from; empty: the master's address.
# `mount -t icbd` sets it to what stands in fstab.
source = ""
# A small process holds the mount, so that readers do not notice when the one that does the work
# dies, hangs or is replaced (`icbd upgrade`). false: one process, whose end is the mount's.
holder = true
# Seconds without a sign of life after which a worker is taken for hung and replaced, 0.1 to 3600.
worker_timeout = 30
# What the kernel does where it can, to be switched off one by one if something seems wrong with it:
# reading files that are here by itself, sending requests again after a worker's death (both Linux
# 6.9; without the second the cache keeps requests itself), remembering listings, and listing with
# attributes.
passthrough = true
resend = true
directory_cache = true
readdirplus = true

[source]
# A machine that runs no icbd, followed instead of a master: "ssh://USER@HOST:PORT/PATH", USER and
# PORT if they are needed. PATH there has a directory for each image, and each of them read-only
# snapshots of any names. They are sent by `btrfs send`, and become versions when they are here.
# Empty: the master below is followed.
url = ""
# The file with the private key. Empty: those that ssh takes by itself.
key = ""
# The file with the keys of hosts. Empty: those that ssh takes by itself. A host that is not in it
# is refused.
known_hosts = ""
# What else ssh is told, each as after its -o: ["ProxyJump=gate.example"].
ssh_options = []
# What runs btrfs there: "sudo btrfs" for a user who may do only that.
remote_command = "btrfs"
# Seconds between two looks at what is there, 0.05 to 86400.
poll_interval = 60

[master]
# The master's data service.
data = "127.0.0.1:5010"
# Where the master's REST announces what is new. Empty: port 5009 on the host of its data service.
rest = ""
# The repository that is followed: what is answered by another one is refused. Empty: the first one
# that answered. Set this to follow another master, or one that was set up anew.
repository = ""
# Seconds between two comparisons with the master's catalog, 0.05 to 3600, beside those that its
# announcements lead to. Without announcements it is compared every second.
poll_interval = 30

[rest]
# Where the command line and other clients are answered. Port 0: the kernel chooses one.
listen = "127.0.0.1:5009"

[log]
# debug, info, warning or error
level = "info"

[node]
# What the master calls this cache; the host's name if it is empty.
name = ""

[fetch]
# Seconds after which a read that waits for the master fails, 0.1 to 3600. Less than what clients
# wait before they give up: Linux gives a SCSI command 30 seconds, Windows 60.
timeout = 20
# Seconds without the master after which it counts as away, 0 to 86400: then reads of what is not
# here fail at once. A restart of the master should be shorter.
offline_after = 20
# What reading a version that is not here leads to: "on-read" fetches all of it in the background,
# "demand-only" what is read and no more, "never" nothing (the read fails).
fill = "on-read"
# With "on-read": after so many bytes were read of a version (or all of a smaller one), so that
# what only looks at names or at the beginnings of files does not have everything fetched. Bytes,
# or "1 MiB".
fill_threshold = "1 MiB"
# How the bytes of a version come in the background: "extents" are what is missing and nothing else;
# "stream" is the master's btrfs send of all that the version has beside the one before; "auto"
# takes whichever was measured to be faster for files of that number and size.
transfer = "auto"
# Bytes a second that are fetched in the background, or "10 MiB"; 0: no limit. What somebody waits
# for is not limited.
bandwidth_limit = 0
# How the master packs what it sends: "auto" chooses by what the link, the processors and the data
# are found to do; or "none", "lz4", "snappy", "zlib:1", "zstd:3" and so on.
codec = "auto"

[policy]
# Parts of a Linux root tree that are accepted from the master. They can do no harm here: the
# repository is closed to all but root, and the view is mounted nosuid and nodev. A version that
# contains what is set to false is refused as a whole.
device_nodes = true
setuid = true
# Extended attributes whose names begin with "security.", such as capabilities.
security_xattrs = true
)toml";
}

}  // namespace icbd::config
