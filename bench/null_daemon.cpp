// A FUSE filesystem that does as little as a passthrough filesystem can: what the kernel's part
// costs, so that what is left of ours is ours.
//
// Shows the regular files of one directory, flat. Attributes and the listing are answered from
// memory, once, and every file is read by the kernel itself. One thread. Prints "ready" when it is
// mounted; SIGTERM unmounts and ends it. Needs root and Linux 6.9.
//   null_daemon DIRECTORY MOUNTPOINT
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "icbd/base/error.h"
#include "icbd/base/unique_fd.h"

#include "fs/fuse.h"
#include "fs/kernel_interface.h"

namespace icbd {
namespace {

namespace kernel = fs::kernel;

constexpr double for_ever = 86'400.0;

struct File {
  std::string name;
  unique_fd descriptor;
  struct stat attributes{};
  std::int32_t backing = 0;  // the kernel's number of it; 0 until the first open
};

// A file's node is its place here and first_file.
constexpr fuse_ino_t first_file = FUSE_ROOT_ID + 1;
struct Directory {
  std::vector<File> files;
  std::unordered_map<std::string_view, fuse_ino_t> nodes;
  struct stat attributes{};
  int device = -1;
  bool agreed = false;  // INIT has been answered
};

Directory& directory_of(fuse_req_t request) {
  return *static_cast<Directory*>(fuse_req_userdata(request));
}

Result<Directory> read_directory(const std::filesystem::path& path) {
  Directory directory;
  if (::stat(path.c_str(), &directory.attributes) != 0) return fail_errno("stat " + path.string());
  for (const auto& entry : std::filesystem::directory_iterator(path)) {
    if (!entry.is_regular_file()) continue;
    File file;
    file.name = entry.path().filename();
    file.descriptor = unique_fd(::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.descriptor) return fail_errno("open " + entry.path().string());
    if (::fstat(file.descriptor.get(), &file.attributes) != 0) return fail_errno("fstat");
    directory.files.push_back(std::move(file));
  }
  for (std::size_t i = 0; i < directory.files.size(); ++i) {
    directory.files[i].attributes.st_ino = first_file + i;
    directory.nodes.emplace(directory.files[i].name, first_file + i);
  }
  directory.attributes.st_ino = FUSE_ROOT_ID;
  return directory;
}

// ---- operations ----------------------------------------------------------------------------

void operation_init(void*, fuse_conn_info* connection) {
  connection->want &= ~static_cast<unsigned>(FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_SPLICE_READ);
  // Directories are opened by the kernel itself, and their listings kept.
  connection->want |= connection->capable & FUSE_CAP_NO_OPENDIR_SUPPORT;
}

void operation_lookup(fuse_req_t request, fuse_ino_t, const char* name) {
  const Directory& directory = directory_of(request);
  const auto found = directory.nodes.find(name);
  if (found == directory.nodes.end()) return (void)fuse_reply_err(request, ENOENT);
  fuse_entry_param entry{};
  entry.ino = found->second;
  entry.attr = directory.files[found->second - first_file].attributes;
  entry.attr_timeout = entry.entry_timeout = for_ever;
  fuse_reply_entry(request, &entry);
}

void operation_getattr(fuse_req_t request, fuse_ino_t node, fuse_file_info*) {
  const Directory& directory = directory_of(request);
  const bool root = node == FUSE_ROOT_ID;
  fuse_reply_attr(request,
                  root ? &directory.attributes : &directory.files[node - first_file].attributes,
                  for_ever);
}

void operation_opendir(fuse_req_t request, fuse_ino_t, fuse_file_info*) {
  fuse_reply_err(request, ENOSYS);
}

void operation_readdir(fuse_req_t request, fuse_ino_t, size_t size, off_t offset, fuse_file_info*) {
  const Directory& directory = directory_of(request);
  std::vector<char> buffer(size);
  std::size_t used = 0;
  for (auto i = static_cast<std::size_t>(offset); i < directory.files.size(); ++i) {
    const File& file = directory.files[i];
    const std::size_t needed =
        fuse_add_direntry(request, buffer.data() + used, size - used, file.name.c_str(),
                          &file.attributes, static_cast<off_t>(i + 1));
    if (needed > size - used) break;
    used += needed;
  }
  fuse_reply_buf(request, buffer.data(), used);
}

void operation_open(fuse_req_t request, fuse_ino_t node, fuse_file_info*) {
  Directory& directory = directory_of(request);
  if (node < first_file) return (void)fuse_reply_err(request, EISDIR);
  File& file = directory.files[node - first_file];
  if (file.backing == 0) {
    kernel::BackingMap map{.fd = file.descriptor.get(), .flags = 0, .padding = 0};
    const int id = ::ioctl(directory.device, kernel::backing_open, &map);
    if (id <= 0) return (void)fuse_reply_err(request, errno);
    file.backing = id;
  }
  const kernel::OpenReply reply{
      .handle = 0, .open_flags = kernel::open_passthrough, .backing_id = file.backing};
  fuse_reply_buf(request, reinterpret_cast<const char*>(&reply), sizeof reply);
}

void operation_release(fuse_req_t request, fuse_ino_t, fuse_file_info*) {
  fuse_reply_err(request, 0);
}

fuse_lowlevel_ops operations() {
  fuse_lowlevel_ops ops{};
  ops.init = operation_init;
  ops.lookup = operation_lookup;
  ops.getattr = operation_getattr;
  ops.opendir = operation_opendir;
  ops.readdir = operation_readdir;
  ops.open = operation_open;
  ops.release = operation_release;
  return ops;
}

// ---- the device ----------------------------------------------------------------------------

ssize_t read_request(int fd, void* buffer, size_t size, void*) {
  return ::read(fd, buffer, size);
}

// The first reply is INIT's: it says what libfuse cannot say, that we want passthrough.
ssize_t write_reply(int fd, iovec* vectors, int count, void* data) {
  Directory& directory = *static_cast<Directory*>(data);
  if (directory.agreed) return ::writev(fd, vectors, count);
  directory.agreed = true;
  kernel::InitReply reply;
  std::size_t length = 0;
  for (int i = 0; i < count; ++i) {
    if (length + vectors[i].iov_len > sizeof reply) return ::writev(fd, vectors, count);
    std::memcpy(reinterpret_cast<char*>(&reply) + length, vectors[i].iov_base, vectors[i].iov_len);
    length += vectors[i].iov_len;
  }
  reply.flags |= static_cast<std::uint32_t>(kernel::init_ext);
  reply.flags2 |= static_cast<std::uint32_t>(kernel::passthrough >> 32);
  reply.max_stack_depth = 1;
  return ::write(fd, &reply, length);
}

Status serve(Directory& directory, const std::filesystem::path& mountpoint) {
  unique_fd device(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
  if (!device) return fail_errno("open /dev/fuse");
  directory.device = device.get();
  std::string program = "null_daemon";
  std::array<char*, 2> arguments{program.data(), nullptr};
  fuse_args args = FUSE_ARGS_INIT(1, arguments.data());
  const fuse_lowlevel_ops ops = operations();
  fuse_session* session = fuse_session_new(&args, &ops, sizeof ops, &directory);
  if (session == nullptr) return fail(ErrorCode::internal, "libfuse refused to make a session");
  fuse_set_signal_handlers(session);
  fuse_custom_io io{};
  io.read = read_request;
  io.writev = write_reply;
  fuse_session_custom_io(session, &io, device.release());  // the session closes it
  const std::string options =
      fmt::format("fd={},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions",
                  directory.device);
  const int mounted = ::mount("null", mountpoint.c_str(), "fuse.null",
                              MS_RDONLY | MS_NOSUID | MS_NODEV, options.c_str());
  if (mounted != 0) return fail_errno("mount at " + mountpoint.string());
  std::puts("ready");
  std::fflush(stdout);
  fuse_session_loop(session);
  ::umount2(mountpoint.c_str(), MNT_DETACH);
  fuse_remove_signal_handlers(session);
  fuse_session_destroy(session);
  return {};
}

Status run(const std::filesystem::path& source, const std::filesystem::path& mountpoint) {
  ICBD_ASSIGN(Directory directory, read_directory(source));
  return serve(directory, mountpoint);
}

}  // namespace
}  // namespace icbd

int main(int count, char** arguments) {
  if (count != 3) {
    fmt::print(stderr, "usage: null_daemon DIRECTORY MOUNTPOINT\n");
    return 2;
  }
  const icbd::Status status = icbd::run(arguments[1], arguments[2]);
  if (status) return 0;
  fmt::print(stderr, "null_daemon: {}\n", status.error().message());
  return 1;
}
