#include "harness/random_tree.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "icbd/base/bytes.h"
#include "icbd/base/file.h"

namespace icbd::harness {
namespace {

namespace fs = std::filesystem;

// Reflinks and holes fall on whole blocks.
constexpr std::uint64_t block = 4096;
// Some chunks of 128 KiB, so that chunks, pages and short tails all occur.
constexpr std::uint64_t usual_size = 1024 * 1024;
constexpr std::uint64_t large_size = 24 * 1024 * 1024;

// Names below `root` that `wanted` accepts, sorted, because directories list in any order.
template <typename Wanted>
std::vector<std::string> names_below(const fs::path& root, Wanted wanted) {
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(root))
    if (wanted(entry)) names.push_back(entry.path().lexically_relative(root).string());
  std::ranges::sort(names);
  return names;
}

// Both are the other's place in the tree, or the same.
bool contains(const std::string& outer, const std::string& inner) {
  return inner == outer || inner.starts_with(outer + "/");
}

}  // namespace

std::uint64_t test_seed() {
  if (const char* seed = std::getenv("ICBD_TEST_SEED")) return std::strtoull(seed, nullptr, 10);
  return std::random_device()();
}

RandomTree::RandomTree(fs::path root, std::uint64_t seed)
    : root_(std::move(root)), seed_(seed), random_(seed) {}

std::uint64_t RandomTree::below(std::uint64_t bound) {
  return random_() % bound;
}

Status RandomTree::done(const std::string& what) {
  history_.push_back(what);
  return {};
}

std::string RandomTree::any_file() {
  const auto names = names_below(
      root_, [](const auto& entry) { return entry.is_regular_file() && !entry.is_symlink(); });
  return names.empty() ? "" : names[below(names.size())];
}

std::string RandomTree::any_directory() {
  auto names = names_below(
      root_, [](const auto& entry) { return entry.is_directory() && !entry.is_symlink(); });
  names.emplace_back("");
  return names[below(names.size())];
}

std::string RandomTree::any_name() {
  const auto names = names_below(root_, [](const auto&) { return true; });
  return names.empty() ? "" : names[below(names.size())];
}

std::string RandomTree::new_path() {
  return (fs::path(any_directory()) / fmt::format("n{}", names_++)).string();
}

Status RandomTree::change(int count) {
  for (int i = 0; i < count; ++i) ICBD_TRY(change_once());
  return {};
}

Status RandomTree::change_once() {
  using Change = Status (RandomTree::*)();
  // What is written most in life stands more than once.
  static constexpr std::array<Change, 19> changes = {
      &RandomTree::make_file,      &RandomTree::make_file,      &RandomTree::make_file,
      &RandomTree::write_some,     &RandomTree::write_some,     &RandomTree::write_some,
      &RandomTree::write_some,     &RandomTree::resize,         &RandomTree::resize,
      &RandomTree::punch,          &RandomTree::reflink,        &RandomTree::reflink,
      &RandomTree::move,           &RandomTree::exchange,       &RandomTree::remove,
      &RandomTree::make_link,      &RandomTree::make_directory, &RandomTree::make_special,
      &RandomTree::change_metadata};
  return (this->*changes[below(changes.size())])();
}

Status RandomTree::make_file() {
  const std::string path = new_path();
  ICBD_ASSIGN(const unique_fd file, open_file(root_ / path, O_RDWR | O_CREAT | O_EXCL, 0644));
  // One in eight is a large sparse file, one in eight a few bytes.
  const std::uint64_t kind = below(8);
  const std::uint64_t size = 1 + below(kind == 0 ? large_size : kind == 1 ? 100 : usual_size);
  if (ftruncate(file.get(), static_cast<off_t>(size)) != 0) return fail_errno("ftruncate");
  const std::uint64_t filled = std::min(size, usual_size);
  Bytes content(filled, static_cast<std::byte>(below(256)));
  ICBD_TRY(write_at(file.get(), content, below(size - filled + 1)));
  return done(fmt::format("make {} with {} bytes, {} of them written", path, size, filled));
}

Status RandomTree::make_directory() {
  const std::string path = new_path();
  if (mkdir((root_ / path).c_str(), 0755) != 0) return fail_errno("mkdir");
  return done(fmt::format("make directory {}", path));
}

Status RandomTree::make_special() {
  const std::string path = new_path();
  const std::string full = (root_ / path).string();
  const std::uint64_t kind = below(3);
  int result = 0;
  if (kind == 0) result = symlink("some/target", full.c_str());
  if (kind == 1) result = mkfifo(full.c_str(), 0600);
  if (kind == 2) result = mknod(full.c_str(), S_IFCHR | 0600, makedev(1, 3));
  if (result != 0) return fail_errno(fmt::format("make {}", full));
  return done(fmt::format("make symlink, fifo or device ({}) {}", kind, path));
}

Status RandomTree::make_link() {
  const std::string file = any_file();
  if (file.empty()) return {};
  const std::string path = new_path();
  if (link((root_ / file).c_str(), (root_ / path).c_str()) != 0) return fail_errno("link");
  return done(fmt::format("link {} to {}", path, file));
}

Status RandomTree::write_some() {
  const std::string path = any_file();
  if (path.empty()) return {};
  ICBD_ASSIGN(const unique_fd file, open_file(root_ / path, O_RDWR));
  const std::uint64_t offset = below(fs::file_size(root_ / path) + 2 * block);
  Bytes content(1 + below(64 * block));
  for (std::byte& byte : content) byte = static_cast<std::byte>(random_());
  ICBD_TRY(write_at(file.get(), content, offset));
  return done(fmt::format("write {} bytes at {} of {}", content.size(), offset, path));
}

Status RandomTree::resize() {
  const std::string path = any_file();
  if (path.empty()) return {};
  const std::uint64_t size = below(2 * fs::file_size(root_ / path) + 2);
  if (truncate((root_ / path).c_str(), static_cast<off_t>(size)) != 0)
    return fail_errno("truncate");
  return done(fmt::format("truncate {} to {}", path, size));
}

Status RandomTree::punch() {
  const std::string path = any_file();
  if (path.empty()) return {};
  ICBD_ASSIGN(const unique_fd file, open_file(root_ / path, O_RDWR));
  const std::uint64_t offset = below(fs::file_size(root_ / path) + 1);
  const std::uint64_t length = 1 + below(usual_size);
  if (fallocate(file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                static_cast<off_t>(length)) != 0)
    return fail_errno("fallocate");
  return done(fmt::format("punch {} bytes at {} of {}", length, offset, path));
}

// Whole blocks of one file into another one or the same.
Status RandomTree::reflink() {
  const std::string from = any_file();
  const std::string to = below(4) == 0 ? new_path() : any_file();
  if (from.empty()) return {};
  const std::uint64_t blocks = fs::file_size(root_ / from) / block;
  if (blocks == 0) return {};
  ICBD_ASSIGN(const unique_fd source, open_file(root_ / from, O_RDONLY));
  ICBD_ASSIGN(const unique_fd destination, open_file(root_ / to, O_RDWR | O_CREAT, 0644));
  const std::uint64_t first = below(blocks);
  file_clone_range range{};
  range.src_fd = source.get();
  range.src_offset = first * block;
  range.src_length = (1 + below(blocks - first)) * block;
  range.dest_offset = below(2) == 0 ? range.src_offset : below(blocks + 1) * block;
  const bool overlaps = from == to || fs::equivalent(root_ / from, root_ / to);
  if (overlaps) range.dest_offset = range.src_offset + range.src_length;
  if (ioctl(destination.get(), FICLONERANGE, &range) != 0) return fail_errno("FICLONERANGE");
  return done(fmt::format("reflink {} bytes at {} of {} to {} of {}", range.src_length,
                          range.src_offset, from, range.dest_offset, to));
}

// Also over an existing file, as `mv` does.
Status RandomTree::move() {
  const std::string from = any_name();
  std::string to = below(2) == 0 ? new_path() : any_file();
  if (from.empty() || to.empty() || contains(from, to)) return {};
  if (fs::is_directory(fs::symlink_status(root_ / from)) && fs::exists(root_ / to)) return {};
  if (rename((root_ / from).c_str(), (root_ / to).c_str()) != 0) return fail_errno("rename");
  return done(fmt::format("rename {} to {}", from, to));
}

// A directory renamed and another in its place, and the like.
Status RandomTree::exchange() {
  const std::string first = any_name();
  const std::string second = any_name();
  if (first.empty() || contains(first, second) || contains(second, first)) return {};
  if (renameat2(AT_FDCWD, (root_ / first).c_str(), AT_FDCWD, (root_ / second).c_str(),
                RENAME_EXCHANGE) != 0)
    return fail_errno("exchange");
  return done(fmt::format("exchange {} and {}", first, second));
}

Status RandomTree::remove() {
  const std::string path = any_name();
  if (path.empty()) return {};
  fs::remove_all(root_ / path);
  return done(fmt::format("remove {}", path));
}

Status RandomTree::change_metadata() {
  const std::string path = any_file();
  if (path.empty()) return {};
  const std::string full = (root_ / path).string();
  const auto value = static_cast<char>('a' + below(26));
  if (chmod(full.c_str(), static_cast<mode_t>(below(010000))) != 0) return fail_errno("chmod");
  if (chown(full.c_str(), static_cast<uid_t>(below(5)), 7) != 0) return fail_errno("chown");
  if (setxattr(full.c_str(), "user.test", &value, 1, 0) != 0) return fail_errno("setxattr");
  return done(fmt::format("change the metadata of {}", path));
}

}  // namespace icbd::harness
