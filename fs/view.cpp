#include "icbd/fs/view.h"

#include <fmt/format.h>
#include <sys/mount.h>

#include <cerrno>

#include "view_state.h"

namespace icbd::fs {
namespace {

// With fewer, a few hundred parked readers fill the kernel's background queue, and readers whose
// bytes are here wait behind them for seconds.
constexpr unsigned max_background = 4096;
constexpr unsigned max_request_bytes = 1024 * 1024;

void operation_init(void*, fuse_conn_info* connection) {
  connection->max_background = max_background;
  connection->congestion_threshold = max_background;
  connection->max_readahead = max_request_bytes;
  // libfuse derives the largest read from it as well (max_pages).
  connection->max_write = max_request_bytes;
  connection->want &= ~static_cast<unsigned>(FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_SPLICE_READ);
  if ((connection->capable & FUSE_CAP_EXPORT_SUPPORT) != 0)
    connection->want |= FUSE_CAP_EXPORT_SUPPORT;  // "." and ".." can be looked up: NFS handles
}

}  // namespace

fuse_lowlevel_ops operations() {
  fuse_lowlevel_ops ops{};
  ops.init = operation_init;
  ops.lookup = operation_lookup;
  ops.getattr = operation_getattr;
  ops.readlink = operation_readlink;
  ops.opendir = operation_opendir;
  ops.readdir = operation_readdir;
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
  return *static_cast<ViewState*>(fuse_req_userdata(request));
}

void reply_error(fuse_req_t request, const Error& error) {
  fuse_reply_err(request, to_errno(error));
}

void with_tree(fuse_req_t request, const NodeId& node, WithTree then) {
  ViewState& state = state_of(request);
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

// What is mounted on the site's own directories goes with the view when that is detached.
Status View::mount_directories() {
  for (const ViewDirectory& directory : state_->options.directories) {
    if (directory.source.empty()) continue;
    const auto target = state_->options.mountpoint / directory.name;
    if (::mount(directory.source.c_str(), target.c_str(), nullptr, MS_BIND | MS_REC, nullptr) != 0)
      return fail_errno(
          fmt::format("mount {} on {} of the view", directory.source.string(), directory.name));
  }
  return {};
}

std::size_t View::open_handles(VersionSerial serial) const {
  return state_->handles.of(serial);
}

Result<std::unique_ptr<View>> View::mount(Library& library, ViewOptions options, Logger logger) {
  std::error_code error;
  bool directory = std::filesystem::is_directory(options.mountpoint, error);
  if (error.value() == ENOTCONN) {
    // A daemon that was killed has left its mount behind; nobody can use it any more.
    logger->warn("{}: a mount without a daemon is removed", options.mountpoint.string());
    ::umount2(options.mountpoint.c_str(), MNT_DETACH);
    directory = std::filesystem::is_directory(options.mountpoint, error);
  }
  if (!directory)
    return fail(ErrorCode::invalid_argument,
                fmt::format("the mountpoint {} is not a directory: make it first",
                            options.mountpoint.string()));
  auto state = std::make_unique<ViewState>(library, std::move(options), std::move(logger));
  const fuse_lowlevel_ops ops = operations();
  ICBD_ASSIGN(state->device, Device::open_and_mount(state->options.mountpoint,
                                                    state->options.source, ops, state.get()));
  state->runner = std::jthread([state = state.get()] {
    state->device->run(state->options.threads);
    if (!state->unmounting && state->options.on_end) state->options.on_end();
  });
  std::unique_ptr<View> view(new View(std::move(state)));
  ICBD_TRY(view->mount_directories());
  return view;
}

View::View(std::unique_ptr<ViewState> state) : state_(std::move(state)) {}

View::~View() {
  unmount();
  // A parked request belongs to the session: all must be answered before that is destroyed.
  for (std::size_t left = state_->parked; left != 0; left = state_->parked)
    state_->parked.wait(left);
}

void View::unmount() {
  if (state_->unmounting.exchange(true)) return;
  state_->device->detach();
  state_->device->stop();
  if (state_->runner.joinable()) state_->runner.join();
}

}  // namespace icbd::fs
