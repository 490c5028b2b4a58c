#include "filesystem_type.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <fstream>
#include <sstream>

namespace icbd::repository {

std::string filesystem_type(const std::filesystem::path& path) {
  std::string unknown = "another filesystem";
  struct stat status{};
  if (stat(path.c_str(), &status) != 0) return unknown;
  const std::string device = fmt::format("{}:{}", major(status.st_dev), minor(status.st_dev));
  // A line is "ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS [FIELDS] - TYPE SOURCE OPTIONS".
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream fields(line);
    std::string id, parent, line_device, type;
    fields >> id >> parent >> line_device;
    const std::size_t separator = line.find(" - ");
    if (line_device != device || separator == std::string::npos) continue;
    std::istringstream(line.substr(separator + 3)) >> type;
    return type;
  }
  return unknown;
}

}  // namespace icbd::repository
