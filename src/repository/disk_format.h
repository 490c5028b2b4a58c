// Which format a disk image has, by its name and its first bytes.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "icbd/base/bytes.h"
#include "icbd/base/error.h"

namespace icbd::repository {

// What the content claims to be: a format of qemu-img's, an archive ("gzip", "tar", …), or "raw" if
// it claims nothing. `head`: the first 512 bytes or more; `tail`: the last 512.
std::string claimed_format(ByteView head, ByteView tail);

// The format to read it as. `wanted` is a person's word, else empty: then name and content have to
// agree.
Result<std::string> choose_format(const std::filesystem::path& file, std::string_view claimed,
                                  std::string_view wanted);

}  // namespace icbd::repository
