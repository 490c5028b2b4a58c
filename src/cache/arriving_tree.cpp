#include "arriving_tree.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "icbd/base/file.h"

namespace icbd::cache {
namespace {

class ArrivingFile final : public fs::OpenFile {
 public:
  ArrivingFile(std::shared_ptr<replicator::Arrival> arrival, FileIndex file, unique_fd fd,
               ArrivingTree::NoteRead note_read)
      : arrival_(std::move(arrival)),
        file_(file),
        fd_(std::move(fd)),
        note_read_(std::move(note_read)) {}

  int descriptor_if_whole() const override {
    const std::uint64_t size = arrival_->content().entry(file_).size;
    return arrival_->is_local(file_, {0, size}) ? fd_.get() : -1;
  }

  bool is_local(ByteRange range) const override { return arrival_->is_local(file_, range); }

  Result<std::size_t> read_local(std::span<std::byte> buffer, std::uint64_t offset) override {
    note_read_(buffer.size());
    return read_at(fd_.get(), buffer, offset);
  }

  void read(ByteRange range, ReadDone done) override {
    arrival_->read(file_, range, std::move(done));
    note_read_(range.length);  // after it, so that the reader's request goes out first
  }

  Result<std::uint64_t> seek(std::uint64_t offset, int whence) override {
    const std::uint64_t size = arrival_->content().entry(file_).size;
    if (offset >= size) return fail_errno("lseek", ENXIO);
    return whence == SEEK_DATA ? seek_data(offset, size) : seek_hole(offset, size);
  }

 private:
  Result<std::uint64_t> local_seek(std::uint64_t offset, int whence) const {
    const off_t found = ::lseek(fd_.get(), static_cast<off_t>(offset), whence);
    if (found < 0) return fail_errno("lseek");
    return static_cast<std::uint64_t>(found);
  }

  Result<std::uint64_t> seek_data(std::uint64_t offset, std::uint64_t size) const {
    const std::uint64_t missing = arrival_->next_missing(file_, offset);
    const auto local = local_seek(offset, SEEK_DATA);
    if (local) return std::min(*local, missing);
    if (missing < size) return missing;
    return local;
  }

  // The first local hole that is not merely a chunk that has not come.
  Result<std::uint64_t> seek_hole(std::uint64_t offset, std::uint64_t size) const {
    const auto chunk = [](std::uint64_t position) { return ByteRange{position, 1}; };
    while (offset < size) {
      if (arrival_->is_local(file_, chunk(offset))) {
        ICBD_ASSIGN(const std::uint64_t hole, local_seek(offset, SEEK_HOLE));
        const std::uint64_t missing = arrival_->next_missing(file_, offset);
        if (hole < missing || hole >= size) return std::min(hole, size);
        offset = missing;
      }
      while (offset < size && !arrival_->is_local(file_, chunk(offset)))
        offset = (offset / limits::chunk_size + 1) * limits::chunk_size;
    }
    return size;
  }

  std::shared_ptr<replicator::Arrival> arrival_;
  FileIndex file_;
  unique_fd fd_;
  ArrivingTree::NoteRead note_read_;
};

}  // namespace

ArrivingTree::ArrivingTree(std::shared_ptr<replicator::Arrival> arrival, NoteRead note_read)
    : CompleteTree(arrival, arrival->content().staging(), arrival->version().generation),
      arrival_(std::move(arrival)),
      note_read_(std::move(note_read)) {}

Result<const manifest::Entry*> ArrivingTree::entry_of(InodeNumber inode) const {
  const auto file = arrival_->content().find(inode);
  if (!file) return fail(ErrorCode::not_found, "no such inode in the manifest");
  return &arrival_->content().entry(*file);
}

// Type, link count and inode number are the filesystem's; the rest is what it will be.
Result<fs::Attributes> ArrivingTree::overlay(fs::Attributes attributes) const {
  ICBD_ASSIGN(const manifest::Entry* entry, entry_of(InodeNumber(attributes.st_ino)));
  attributes.st_mode = (attributes.st_mode & S_IFMT) | entry->mode;
  if (S_ISLNK(attributes.st_mode)) attributes.st_mode |= 0777;
  attributes.st_uid = entry->uid;
  attributes.st_gid = entry->gid;
  attributes.st_mtim = {entry->modified.seconds, entry->modified.nanoseconds};
  attributes.st_atim = attributes.st_ctim = attributes.st_mtim;
  if (S_ISREG(attributes.st_mode)) {
    constexpr std::uint64_t block = 4096;
    constexpr std::uint64_t stat_block = 512;
    attributes.st_size = static_cast<off_t>(entry->size);
    // Not what is here: cp and qemu-img skip what has no blocks.
    attributes.st_blocks =
        static_cast<blkcnt_t>((entry->data_bytes + block - 1) / block * (block / stat_block));
  }
  return attributes;
}

Result<fs::Attributes> ArrivingTree::attributes(InodeNumber inode) {
  ICBD_ASSIGN(const fs::Attributes local, CompleteTree::attributes(inode));
  return overlay(local);
}

Result<fs::Attributes> ArrivingTree::lookup(InodeNumber directory, const std::string& name) {
  ICBD_ASSIGN(const fs::Attributes local, CompleteTree::lookup(directory, name));
  return overlay(local);
}

bool ArrivingTree::whole(InodeNumber inode) {
  const auto file = arrival_->content().find(inode);
  return file && arrival_->is_local(*file, {0, arrival_->content().entry(*file).size});
}

Result<Bytes> ArrivingTree::xattr(InodeNumber inode, const std::string& name) {
  ICBD_ASSIGN(const manifest::Entry* entry, entry_of(inode));
  const auto found = std::ranges::find(entry->xattrs, name, &manifest::Xattr::name);
  if (found == entry->xattrs.end()) return fail_errno(name, ENODATA);
  return found->value;
}

Result<std::vector<std::string>> ArrivingTree::xattr_names(InodeNumber inode) {
  ICBD_ASSIGN(const manifest::Entry* entry, entry_of(inode));
  std::vector<std::string> names;
  names.reserve(entry->xattrs.size());
  for (const manifest::Xattr& xattr : entry->xattrs) names.push_back(xattr.name);
  return names;
}

Result<std::shared_ptr<fs::OpenFile>> ArrivingTree::open(InodeNumber inode) {
  ICBD_ASSIGN(unique_fd fd, open_for_reading(inode));
  const auto file = arrival_->content().find(inode);
  if (!file) return fail(ErrorCode::not_found, "no such inode in the manifest");
  return std::make_shared<ArrivingFile>(arrival_, *file, std::move(fd), note_read_);
}

}  // namespace icbd::cache
