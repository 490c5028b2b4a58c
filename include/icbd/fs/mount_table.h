// What is mounted where, from the kernel's table: nobody who serves a mount is asked.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "icbd/base/error.h"

namespace icbd::fs {

// Of the view, as /proc/mounts shows it.
inline constexpr std::string_view filesystem_type = "fuse.icbd";

// The type of the filesystem that is mounted on exactly this path, the uppermost one if there are
// several; empty if none is.
Result<std::string> type_of_mount(const std::filesystem::path& path);
// The same of a table's text (proc_pid_mountinfo(5)).
std::string type_of_mount(std::string_view table, const std::filesystem::path& path);

}  // namespace icbd::fs
