#include "icbd/applier/applier.h"

#include <utility>

#include "icbd/sendstream/dump.h"

#include "session.h"

namespace icbd::applier {

using sendstream::Command;

Applier::Applier(int root_fd, CloneSources& sources, Options options)
    : session_(std::make_unique<Session>(root_fd, sources, options)),
      commands_left_(options.commands_max) {}
Applier::~Applier() = default;
Applier::Applier(Applier&&) noexcept = default;
Applier& Applier::operator=(Applier&&) noexcept = default;

Status Applier::apply(const Command& command) {
  if (failure_) return std::unexpected(*failure_);
  Status status = check_order(command);
  if (status) status = std::visit(*session_, command);
  --commands_left_;
  if (!status) {
    failure_ = status.error().with_context(sendstream::dump(command));
    session_.reset();  // with all its descriptors
    return std::unexpected(*failure_);
  }
  identity_ = session_->identity();
  ended_ = std::holds_alternative<sendstream::End>(command);
  return {};
}

Status Applier::finish() const {
  if (failure_) return std::unexpected(*failure_);
  if (!ended_) return fail(ErrorCode::corrupt, "the stream stops before its end command");
  return {};
}

std::unordered_set<std::uint64_t> Applier::inodes_with_set_flags() const {
  return session_ ? session_->decided_inodes() : std::unordered_set<std::uint64_t>();
}

Status Applier::check_order(const Command& command) const {
  const bool begins = std::holds_alternative<sendstream::Subvolume>(command) ||
                      std::holds_alternative<sendstream::Snapshot>(command);
  if (ended_) return fail(ErrorCode::corrupt, "a command after the end");
  if (commands_left_ == 0) return fail(ErrorCode::too_large, "too many commands in one stream");
  if (begins && identity_) return fail(ErrorCode::corrupt, "a second subvolume in one stream");
  if (!begins && !identity_)
    return fail(ErrorCode::corrupt, "the stream does not begin with a subvolume");
  return {};
}

}  // namespace icbd::applier
