#include "icbd/applier/applier.h"

#include <utility>

#include "icbd/sendstream/dump.h"

#include "session.h"

namespace icbd::applier {

using sendstream::Command;

Applier::Applier(int root_fd, CloneSources& sources, Options options)
    : session_(std::make_unique<Session>(root_fd, sources, options)),
      commands_left_(options.commands_max),
      pass_over_errors_(options.pass_over_errors) {}
Applier::~Applier() = default;
Applier::Applier(Applier&&) noexcept = default;
Applier& Applier::operator=(Applier&&) noexcept = default;

Status Applier::apply(const Command& command) {
  if (failure_) return std::unexpected(*failure_);
  const Status in_order = check_order(command);
  if (!in_order) return give_up(in_order.error().with_context(sendstream::dump(command)));
  --commands_left_;
  if (Status made = session_->make_held_file(command); !made) return give_up(made.error());
  const bool ends = std::holds_alternative<sendstream::End>(command);
  if (const Status applied = std::visit(*session_, command); !applied) {
    Error error = applied.error().with_context(sendstream::dump(command));
    // Without its beginning or its end a version is none.
    if (pass_over_errors_ && identity_ && !ends) return std::unexpected(std::move(error));
    return give_up(std::move(error));
  }
  identity_ = session_->identity();
  ended_ = ends;
  return {};
}

Status Applier::give_up(Error error) {
  failure_ = std::move(error);
  session_.reset();  // with all its descriptors
  return std::unexpected(*failure_);
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
