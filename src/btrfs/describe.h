// Words for errors: what a descriptor stands for.
#pragma once

#include <string>

namespace icbd::btrfs {

// The path of an open descriptor as the kernel knows it, for messages only.
std::string describe(int fd);

}  // namespace icbd::btrfs
