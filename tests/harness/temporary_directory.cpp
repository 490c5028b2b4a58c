#include "harness/temporary_directory.h"

#include <fmt/format.h>
#include <stdlib.h>

#include <cstdio>
#include <utility>

#include "harness/run.h"

namespace icbd::harness {

Result<TemporaryDirectory> TemporaryDirectory::create() {
  const char* base = std::getenv("TMPDIR");
  std::string name = fmt::format("{}/icbd-test-XXXXXX", base && *base ? base : "/tmp");
  if (mkdtemp(name.data()) == nullptr) return fail_errno(fmt::format("make folder {}", name));
  return TemporaryDirectory(name);
}

TemporaryDirectory::TemporaryDirectory(TemporaryDirectory&& other) noexcept
    : path_(std::exchange(other.path_, {})) {}

TemporaryDirectory& TemporaryDirectory::operator=(TemporaryDirectory&& other) noexcept {
  if (this != &other) {
    remove();
    path_ = std::exchange(other.path_, {});
  }
  return *this;
}

TemporaryDirectory::~TemporaryDirectory() {
  remove();
}

void TemporaryDirectory::remove() noexcept {
  if (path_.empty()) return;
  // rm rather than remove_all(), which would follow a mount that a failed test left behind.
  const auto removed = run({"rm", "-rf", "--one-file-system", "--", path_.string()});
  if (!removed || removed->exit_code != 0)
    std::fprintf(stderr, "could not remove %s\n", path_.c_str());
}

}  // namespace icbd::harness
