#include "transfer.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "icbd/applier/receive.h"
#include "icbd/base/quote.h"
#include "icbd/btrfs/space.h"

namespace icbd::pull {
namespace {

using namespace std::chrono_literals;

// How much is received between two looks at the room that is left, and what must be left then.
constexpr std::uint64_t room_interval = std::uint64_t{16} << 20;

// What the stream may build on: the parent that it was asked to, as it stands in its place. Looking
// for the identity might find one that was put aside because it is damaged.
class Parent final : public applier::CloneSources {
 public:
  static Result<Parent> open(const repository::Repository& repository,
                             const TransferRequest& request) {
    if (!request.parent) return Parent(Uuid(), unique_fd());
    ICBD_ASSIGN(unique_fd root, repository.open_version(request.image, request.parent_number));
    return Parent(request.parent->identity(), std::move(root));
  }

  Result<int> root_of(const Uuid& uuid) override {
    if (root_ && uuid == uuid_) return root_.get();
    return fail(ErrorCode::not_found,
                fmt::format("the stream builds on another snapshot (UUID {}) than it was asked to",
                            uuid.to_string()));
  }

 private:
  Parent(const Uuid& uuid, unique_fd root) : uuid_(uuid), root_(std::move(root)) {}

  Uuid uuid_;
  unique_fd root_;
};

class Reception {
 public:
  Reception(const TransferRequest& request, repository::Repository& repository,
            applier::Receiver receiver, const Clock& clock, RateLimit& bandwidth,
            TransferProgress& progress)
      : request_(request),
        repository_(repository),
        receiver_(std::move(receiver)),
        clock_(clock),
        bandwidth_(bandwidth),
        progress_(progress) {}

  Status take(ByteView piece) {
    ICBD_TRY(pause(bandwidth_.take(piece.size())));
    ICBD_TRY(receiver_.feed(piece));
    progress_.bytes += piece.size();
    progress_.last_byte = clock_.now();
    if (progress_.bytes < next_look_) return {};
    next_look_ = progress_.bytes + room_interval;
    return check_room();
  }

  Status check_room() const {
    return btrfs::check_room(repository_.directory_fd(), room_interval, request_.space_reserve);
  }

  // There is one snapshot, and it is the one.
  Status finish() {
    ICBD_ASSIGN(const auto received, receiver_.finish());
    if (received.size() == 1 && received.front().uuid == request_.snapshot.identity()) return {};
    return fail(ErrorCode::corrupt,
                fmt::format("another snapshot than {} was sent", quote(request_.snapshot.name)));
  }

 private:
  Status pause(Clock::Duration duration) const {
    for (; duration > Clock::Duration::zero(); duration -= 100ms) {
      if (progress_.publishing.cancelled)
        return fail(ErrorCode::cancelled, "it is not wanted any more");
      std::this_thread::sleep_for(std::min<Clock::Duration>(duration, 100ms));
    }
    return {};
  }

  const TransferRequest& request_;
  repository::Repository& repository_;
  applier::Receiver receiver_;
  const Clock& clock_;
  RateLimit& bandwidth_;
  TransferProgress& progress_;
  std::uint64_t next_look_ = room_interval;
};

// The name is somebody else's: what is not printable is not shown as it is.
std::string message_for(const TransferRequest& request) {
  const std::string& name = request.snapshot.name;
  const bool printable = std::ranges::all_of(name, [](char c) { return c >= ' ' && c <= '~'; });
  std::string message = fmt::format("{} from {}", printable ? name : quote(name), request.from);
  message.resize(std::min(message.size(), limits::message_length));
  return message;
}

}  // namespace

Result<repository::PublishReport> transfer(repository::Repository& repository,
                                           const RemoteMachine& machine,
                                           const TransferRequest& request, const Clock& clock,
                                           RateLimit& bandwidth, TransferProgress& progress) {
  const Snapshot& snapshot = request.snapshot;
  ICBD_ASSIGN(auto incoming,
              repository::Incoming::begin(repository, {.image = request.image,
                                                       .uuid = snapshot.identity(),
                                                       .message = message_for(request),
                                                       .published = snapshot.created}));
  progress.number = incoming.number().value();
  progress.last_byte = clock.now();
  {
    ICBD_ASSIGN(Parent parent, Parent::open(repository, request));
    ICBD_ASSIGN(auto receiver,
                applier::Receiver::open(
                    incoming.directory(),
                    {.policy = request.policy, .versions = &parent, .name = incoming.name()}));
    Reception reception(request, repository, std::move(receiver), clock, bandwidth, progress);
    ICBD_TRY(reception.check_room());
    ICBD_TRY(machine.send(snapshot, request.parent ? &*request.parent : nullptr, request.packed,
                          progress.publishing.cancelled,
                          [&](ByteView piece) { return reception.take(piece); }));
    ICBD_TRY(reception.finish());
  }
  progress.received = true;
  return incoming.commit(progress.publishing);
}

}  // namespace icbd::pull
