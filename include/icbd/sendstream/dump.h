// One readable line per command, for people and golden files.
#pragma once

#include <string>

#include "icbd/sendstream/command.h"

namespace icbd::sendstream {

// The command's name as the kernel spells it in lower case, for example "update_extent".
std::string command_name(const Command& command);
// For example: `update_extent ./disk.raw offset=131072 length=4096`. Bytes that are not printable
// are escaped as \xNN; data is given by length only.
std::string dump(const Command& command);

}  // namespace icbd::sendstream
