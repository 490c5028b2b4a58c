// The kernel's send: a read-only subvolume as a stream of commands.
//
// Purpose: everything that BTRFS_IOC_SEND can do, into a descriptor or, piece by piece, into a
// function. `send_shape` in subvolume.h is the form of it that carries no data.
// Guarantees: thread-safe as the kernel is: subvolumes may be sent several times at once. While one
// is sent, the kernel lets nobody make it or its parent writable, or delete them.
// Needs CAP_SYS_ADMIN.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "icbd/base/bytes.h"
#include "icbd/base/error.h"

namespace icbd::btrfs {

struct SendOptions {
  // The read-only subvolume that the receiver has, from which only the difference is sent; -1:
  // everything is sent.
  int parent_root_fd = -1;
  // Further ones that the receiver has: extents that are shared with them are not sent but named.
  std::vector<int> clone_root_fds = {};
  // Of the stream; 0: the newest that the kernel knows.
  std::uint32_t protocol = 1;
  bool compressed_data = false;     // extents as they lie on the disk; needs protocol 2
  bool no_data = false;             // names and metadata, and which ranges have changed
  bool omit_stream_header = false;  // for a further subvolume of the same stream
  bool omit_end = false;            // when a further one follows
};

// Writes the stream to a pipe or socket in blocking mode, or to a regular file, from its beginning
// and not from where it stands; returns when all is written. invalid_argument for any other file.
// unsupported if the kernel does not know the protocol.
Status send(int root_fd, const SendOptions& options, int output_fd);

// The same through a pipe and a thread of its own: `sink` gets the stream piece by piece, on the
// caller's thread; an error from the sink ends the send and is returned.
Status send(int root_fd, const SendOptions& options,
            const std::function<Status(ByteView piece)>& sink);

}  // namespace icbd::btrfs
