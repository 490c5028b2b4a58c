#include "random_tree.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>

#include "icbd/base/file.h"
#include "icbd/btrfs/subvolume.h"

namespace icbd::applier {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t block = 4096;
constexpr std::uint64_t size_max = 64 * block;

}  // namespace

void RandomTree::change() {
  using Change = void (RandomTree::*)();
  static constexpr std::array<Change, 18> changes = {
      &RandomTree::make_file,       &RandomTree::make_file,        &RandomTree::replace_file,
      &RandomTree::change_in_place, &RandomTree::change_in_place,  &RandomTree::punch_hole,
      &RandomTree::resize,          &RandomTree::resize,           &RandomTree::share_range,
      &RandomTree::share_range,     &RandomTree::share_whole_file, &RandomTree::move_file,
      &RandomTree::move_directory,  &RandomTree::make_directory,   &RandomTree::remove_something,
      &RandomTree::add_name,        &RandomTree::make_symlink,     &RandomTree::change_attributes};
  (this->*changes[below(changes.size())])();
}

std::vector<fs::path> RandomTree::files() const {
  std::vector<fs::path> found;
  for (const auto& entry : fs::recursive_directory_iterator(root_))
    if (entry.is_regular_file() && !entry.is_symlink()) found.push_back(entry.path());
  return found;
}

std::vector<fs::path> RandomTree::directories() const {
  std::vector<fs::path> found = {root_};
  for (const auto& entry : fs::recursive_directory_iterator(root_))
    if (entry.is_directory() && !entry.is_symlink()) found.push_back(entry.path());
  return found;
}

// Few different names, so that names are reused by other files.
fs::path RandomTree::new_name() {
  const auto folders = directories();
  for (;;) {
    const fs::path name = *pick(folders) / fmt::format("n{}", below(10 + ++names_ / 20));
    if (!fs::exists(fs::symlink_status(name))) return name;
  }
}

void RandomTree::write_file(const fs::path& file, std::uint64_t offset, std::uint64_t length) {
  std::vector<std::uint64_t> data(length / sizeof(std::uint64_t) + 1);
  for (auto& word : data) word = random_();
  const auto fd = open_file(file, O_WRONLY | O_CREAT, 0644);
  const auto written = write_at(fd->get(), std::as_bytes(std::span(data)).first(length), offset);
  if (!written) throw std::runtime_error(written.error().message());
}

void RandomTree::make_file() {
  const std::uint64_t size = below(3) == 0 ? below(200) : below(size_max);
  write_file(new_name(), below(4) == 0 ? below(size_max) : 0, size);
}

void RandomTree::replace_file() {
  const auto all = files();
  const fs::path* old = pick(all);
  if (!old) return;
  const fs::path temporary = new_name();
  fs::copy_file(*old, temporary);
  write_file(temporary, below(size_max), below(2 * block));
  fs::rename(temporary, *old);
}

void RandomTree::change_in_place() {
  const auto all = files();
  if (const fs::path* file = pick(all)) {
    const std::uint64_t size = fs::file_size(*file);
    write_file(*file, below(size + block), 1 + below(4 * block));
  }
}

void RandomTree::punch_hole() {
  const auto all = files();
  const fs::path* file = pick(all);
  if (!file) return;
  const auto fd = open_file(*file, O_RDWR);
  ::fallocate(fd->get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
              static_cast<off_t>(below(size_max)), static_cast<off_t>(1 + below(8 * block)));
}

void RandomTree::resize() {
  const auto all = files();
  const fs::path* file = pick(all);
  if (!file) return;
  fs::resize_file(*file, below(size_max));
  if (below(2) == 0) fs::resize_file(*file, below(2 * size_max));
}

void RandomTree::share_range() {
  const auto all = files();
  const fs::path *from = pick(all), *to = pick(all);
  if (!from) return;
  const auto source = open_file(*from, O_RDONLY), destination = open_file(*to, O_RDWR);
  const std::uint64_t length = (1 + below(6)) * block;
  // Ranges that do not exist or overlap are refused by the kernel, and nothing happens.
  static_cast<void>(btrfs::clone_range(source->get(), below(16) * block, destination->get(),
                                       below(16) * block, length));
}

void RandomTree::share_whole_file() {
  const auto all = files();
  const fs::path* from = pick(all);
  if (!from || fs::file_size(*from) == 0) return;
  const auto source = open_file(*from, O_RDONLY);
  const auto destination = open_file(new_name(), O_RDWR | O_CREAT | O_EXCL, 0644);
  static_cast<void>(
      btrfs::clone_range(source->get(), 0, destination->get(), 0, fs::file_size(*from)));
}

void RandomTree::move_file() {
  const auto all = files();
  const fs::path* file = pick(all);
  if (!file) return;
  fs::rename(*file, below(3) == 0 ? *pick(all) : new_name());
}

void RandomTree::move_directory() {
  const auto all = directories();
  const fs::path* directory = pick(all);
  if (*directory == root_) return;
  std::error_code into_itself;
  fs::rename(*directory, new_name(), into_itself);
  // Often another one takes the old name.
  if (!into_itself && below(2) == 0) fs::create_directory(*directory, into_itself);
}

void RandomTree::make_directory() {
  fs::create_directory(new_name());
}

void RandomTree::remove_something() {
  const auto all = below(4) == 0 ? directories() : files();
  if (const fs::path* victim = pick(all); victim && *victim != root_) fs::remove_all(*victim);
}

void RandomTree::add_name() {
  const auto all = files();
  if (const fs::path* file = pick(all)) fs::create_hard_link(*file, new_name());
}

void RandomTree::make_symlink() {
  const auto all = files();
  if (const fs::path* file = pick(all)) fs::create_symlink(*file, new_name());
}

void RandomTree::change_attributes() {
  const auto all = below(3) == 0 ? directories() : files();
  const fs::path* object = pick(all);
  if (!object) return;
  const std::uint64_t value = random_();
  ::chmod(object->c_str(), static_cast<mode_t>(0700 + below(0100)));
  ::chown(object->c_str(), static_cast<uid_t>(below(3)), static_cast<gid_t>(below(3)));
  ::setxattr(object->c_str(), below(2) == 0 ? "user.a" : "user.b", &value, sizeof value, 0);
  if (below(2) == 0) ::removexattr(object->c_str(), "user.a");
}

}  // namespace icbd::applier
