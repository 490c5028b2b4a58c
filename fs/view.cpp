#include "icbd/fs/view.h"

#include <fmt/format.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "icbd/fs/mount_table.h"

#include "view_state.h"

namespace icbd::fs {
namespace {

// With fewer, a few hundred parked readers fill the kernel's background queue, and readers whose
// bytes are here wait behind them for seconds.
constexpr unsigned max_background = 4096;
constexpr unsigned max_request_bytes = 1024 * 1024;
constexpr std::chrono::seconds agreement_timeout{10};

void operation_init(void* user_data, fuse_conn_info* connection) {
  const ViewState& state = *static_cast<SessionData*>(user_data)->state;
  connection->max_background = max_background;
  connection->congestion_threshold = max_background;
  connection->max_readahead = max_request_bytes;
  // libfuse derives the largest read from it as well (max_pages).
  connection->max_write = max_request_bytes;
  const auto want = [connection](unsigned capability, bool wanted) {
    connection->want &= ~capability;
    if (wanted) connection->want |= connection->capable & capability;
  };
  // With it the kernel refuses passthrough without a word.
  want(FUSE_CAP_WRITEBACK_CACHE, false);
  want(FUSE_CAP_SPLICE_READ, false);
  want(FUSE_CAP_EXPORT_SUPPORT, true);  // "." and ".." can be looked up: NFS handles
  want(FUSE_CAP_NO_OPENDIR_SUPPORT, state.options.features.directory_cache);
  want(FUSE_CAP_READDIRPLUS, state.options.features.readdirplus);
  want(FUSE_CAP_READDIRPLUS_AUTO, state.options.features.readdirplus);
}

}  // namespace

fuse_lowlevel_ops operations(const Features& features) {
  fuse_lowlevel_ops ops{};
  ops.init = operation_init;
  ops.lookup = operation_lookup;
  ops.getattr = operation_getattr;
  ops.readlink = operation_readlink;
  ops.opendir = operation_opendir;
  ops.readdir = operation_readdir;
  if (features.readdirplus) ops.readdirplus = operation_readdirplus;
  ops.releasedir = operation_releasedir;
  ops.open = operation_open;
  ops.read = operation_read;
  ops.lseek = operation_lseek;
  ops.release = operation_release;
  ops.getxattr = operation_getxattr;
  ops.listxattr = operation_listxattr;
  ops.statfs = operation_statfs;
  return ops;
}

ViewState& state_of(fuse_req_t request) {
  return *static_cast<SessionData*>(fuse_req_userdata(request))->state;
}

void reply_error(fuse_req_t request, const Error& error) {
  fuse_reply_err(request, to_errno(error));
}

void reply_tree_error(fuse_req_t request, const NodeId& node, const Error& error) {
  const auto tree = state_of(request).library.tree(node.serial);
  if (!tree || !node.is_of(tree->generation())) return (void)fuse_reply_err(request, ESTALE);
  reply_error(request, error);
}

void with_tree(fuse_req_t request, const NodeId& node, WithTree then) {
  ViewState& state = state_of(request);
  state.recent_use.note(node.serial);
  const auto proceed = [node, then = std::move(then)](fuse_req_t waiting, Tree& tree) {
    if (node.is_of(tree.generation()))
      then(waiting, tree);
    else
      fuse_reply_err(waiting, ESTALE);
  };
  if (const auto tree = state.library.tree(node.serial)) return proceed(request, *tree);
  auto parked = ParkedRequest::park(request, state.parked);
  state.library.prepare(node.serial, [parked, proceed](Result<std::shared_ptr<Tree>> tree) {
    parked->answer([&](fuse_req_t waiting) {
      if (tree)
        proceed(waiting, **tree);
      else
        reply_error(waiting, tree.error());
    });
  });
}

namespace {

// By a process of its own: looking up the target asks the view itself. Were this process killed
// while one of its threads waits for that, it could not end before the request was answered, and
// nobody could take its place and answer it.
Status mount_directory(const ViewDirectory& directory, const std::filesystem::path& mountpoint) {
  const std::string source = directory.source.string();
  const std::string target = (mountpoint / directory.name).string();
  std::array<const char*, 6> arguments{"mount",        "--rbind",      "--",
                                       source.c_str(), target.c_str(), nullptr};
  pid_t process = -1;
  if (const int cause = ::posix_spawnp(&process, arguments[0], nullptr, nullptr,
                                       const_cast<char* const*>(arguments.data()), environ);
      cause != 0)
    return fail_errno("start mount(8)", cause);
  int status = -1;
  while (::waitpid(process, &status, 0) < 0 && errno == EINTR) {
  }
  if (status != 0)
    return fail(ErrorCode::io, fmt::format("mount {} on {} of the view: mount(8) failed; what it "
                                           "said is in this log",
                                           source, directory.name));
  return {};
}

// An image may be hidden by a directory of its name: forgetting that would take away what is
// mounted on it.
bool is_own_directory(const ViewState& state, const Invalidations::Name& name) {
  return name.parent == fuse_root_id &&
         std::ranges::find(state.options.directories, name.name, &ViewDirectory::name) !=
             state.options.directories.end();
}

Status prepare_mountpoint(const std::filesystem::path& mountpoint, const Logger& logger) {
  std::error_code error;
  // Not stat(2), which the kernel may answer from what it remembers.
  struct statfs filesystem{};
  if (::statfs(mountpoint.c_str(), &filesystem) != 0 && errno == ENOTCONN) {
    // A daemon that was killed has left its mount behind; nobody can use it any more.
    logger->warn("{}: a mount without a daemon is removed", mountpoint.string());
    ::umount2(mountpoint.c_str(), MNT_DETACH);
  }
  const bool directory = std::filesystem::is_directory(mountpoint, error);
  if (directory &&
      type_of_mount(std::filesystem::canonical(mountpoint, error)).value_or("") == filesystem_type)
    return fail(ErrorCode::busy, fmt::format("{}: a view is mounted there already, and is served; "
                                             "umount it first",
                                             mountpoint.string()));
  if (directory) return {};
  return fail(
      ErrorCode::invalid_argument,
      fmt::format("the mountpoint {} is not a directory: make it first", mountpoint.string()));
}

Status open_device(ViewState& state) {
  const fuse_lowlevel_ops ops = operations(state.options.features);
  const Device::Options options{.mountpoint = state.options.mountpoint,
                                .source = state.options.source,
                                .wanted = state.options.features};
  if (auto& kept = state.options.kept) {
    ICBD_ASSIGN(ConnectionMemory memory, ConnectionMemory::attach(std::move(kept->memory)));
    state.memory = std::make_unique<ConnectionMemory>(std::move(memory));
    ICBD_ASSIGN(state.device,
                Device::take_over(std::move(kept->device), options, *state.memory, ops, state));
    return {};
  }
  ICBD_TRY(prepare_mountpoint(state.options.mountpoint, state.logger));
  ICBD_ASSIGN(ConnectionMemory memory, ConnectionMemory::create());
  state.memory = std::make_unique<ConnectionMemory>(std::move(memory));
  ICBD_ASSIGN(state.device, Device::mount_new(options, *state.memory, ops, state));
  return {};
}

}  // namespace

// What is mounted on the site's own directories goes with the view when that is detached.
Status View::mount_directories() {
  auto& mounted = state_->memory->header().directories_mounted;
  const auto& directories = state_->options.directories;
  for (std::uint32_t i = mounted; i < directories.size(); ++i) {
    if (!directories[i].source.empty())
      ICBD_TRY(mount_directory(directories[i], state_->options.mountpoint));
    mounted = i + 1;
  }
  return {};
}

Result<std::unique_ptr<View>> View::mount(Library& library, ViewOptions options, Logger logger) {
  auto state = std::make_unique<ViewState>(library, std::move(options), std::move(logger));
  const bool taken_over = state->options.kept.has_value();
  ICBD_TRY(open_device(*state));
  state->nodes = std::make_unique<OpenNodes>(*state->memory, *state->device, state->logger);
  state->runner = std::jthread([state = state.get()] {
    state->device->run(state->options.threads);
    if (!state->unmounting && state->options.on_end) state->options.on_end();
  });
  state->refresher = std::make_unique<Refresher>(
      library,
      [device = state->device.get()](std::uint64_t node) { device->invalidate_node(node); },
      [state = state.get()](std::vector<Invalidations::Name> names) {
        std::erase_if(names, [state](const auto& name) { return is_own_directory(*state, name); });
        state->device->invalidate_names(names);
      });
  std::unique_ptr<View> view(new View(std::move(state)));
  const Status begun = view->begin(taken_over);
  if (begun) return view;
  // Whoever comes next may do better with the mount.
  if (taken_over) view->hand_over();
  return std::unexpected(begun.error());
}

Status View::begin(bool taken_over) {
  if (!state_->device->wait_until_agreed(agreement_timeout))
    return fail(ErrorCode::timed_out, "the kernel has not begun to use the mount");
  state_->refresher->start(taken_over);
  return mount_directories();
}

View::View(std::unique_ptr<ViewState> state) : state_(std::move(state)) {}

View::~View() {
  unmount();
  // A parked request belongs to the session: all must be answered before that is destroyed.
  for (std::size_t left = state_->parked; left != 0; left = state_->parked)
    state_->parked.wait(left);
}

// The refresher first: what it tells the kernel may wait for a lookup that has to be answered.
void View::unmount() {
  if (state_->unmounting.exchange(true)) return;
  if (state_->refresher) state_->refresher->stop();
  state_->device->detach();
  state_->device->stop();
  if (state_->runner.joinable()) state_->runner.join();
}

void View::hand_over() {
  if (state_->unmounting.exchange(true)) return;
  if (state_->refresher) state_->refresher->stop();
  state_->device->hand_over();
  if (state_->runner.joinable()) state_->runner.join();
}

View::Kept View::kept() const {
  return {.device = state_->device->fd(), .memory = state_->memory->fd()};
}

void View::library_changed() {
  state_->refresher->changed();
}

std::size_t View::open_handles(VersionSerial serial) const {
  return state_->nodes->open_handles(serial);
}

std::chrono::milliseconds View::quiet_for(VersionSerial serial) const {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
      state_->recent_use.quiet_for(serial));
}

std::size_t View::forget_unless_open(VersionSerial serial) {
  return state_->nodes->forget_unless_open(serial);
}

void View::forget(VersionSerial serial) {
  state_->nodes->forget(serial);
}

Features View::features() const {
  return state_->device->features();
}

std::vector<ServedFile> View::served_files() const {
  std::vector<ServedFile> files;
  for (const OpenNodes::Served& served : state_->nodes->served()) {
    const auto node = decode(served.node);
    if (!node) continue;
    const auto tree = state_->library.tree(node->serial);
    files.push_back({.serial = node->serial,
                     .inode = node->inode,
                     .handles = served.handles,
                     .whole = tree && tree->whole(node->inode)});
  }
  return files;
}

std::chrono::milliseconds View::longest_operation() const {
  return state_->device->longest_operation();
}

Status View::check_responsive(std::chrono::milliseconds longest) const {
  const auto busy = longest_operation();
  if (busy <= longest) return {};
  return fail(ErrorCode::timed_out,
              fmt::format("a thread of the view has been busy with one request for {} s",
                          std::chrono::duration_cast<std::chrono::seconds>(busy).count()));
}

}  // namespace icbd::fs
