// What ssh is told, and what the shell at its other end. Pure.
//
// A command travels as one text that the login shell there takes apart: whatever is not ours is put
// into single quotes, in which no POSIX shell sees anything special.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "icbd/pull/machine.h"

#include "snapshots.h"

namespace icbd::pull {

// 'it'\''s'
std::string shell_quote(std::string_view word);

// The whole command line of ssh.
std::vector<std::string> ssh_words(const Machine& machine, const std::string& remote_command);

// Lists the images: an answer for parse_images().
std::string list_images_command(const Machine& machine);
// Lists the snapshots of these images: an answer for parse_snapshots().
std::string list_snapshots_command(const Machine& machine, std::span<const std::string> images);
// Streams a snapshot to standard output. `parent` null: all of it. `packed`: extents as they lie on
// the disk there, which needs version 2 of the stream.
std::string send_command(const Machine& machine, const Snapshot& snapshot, const Snapshot* parent,
                         bool packed);

}  // namespace icbd::pull
