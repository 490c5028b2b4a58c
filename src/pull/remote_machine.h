// A machine at the other end of ssh: what is there, and the streams of it.
//
// Each call runs ssh once, to its end. Guarantees: thread-safe; `cancelled` ends a call within a
// tenth of a second. Errors name the machine and say what to do; `unavailable` and `timed_out` mean
// that trying again may help without anybody doing anything.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "icbd/base/bytes.h"
#include "icbd/base/error.h"
#include "icbd/pull/machine.h"

#include "snapshots.h"

namespace icbd::pull {

class RemoteMachine {
 public:
  explicit RemoteMachine(Machine machine) : machine_(std::move(machine)) {}

  // "backup@disks.example:/srv/snapshots"
  std::string address() const;

  Result<Images> images(const std::atomic<bool>& cancelled) const;
  // An image that is not there any more is left out.
  Result<std::map<std::string, Listing>> snapshots(std::span<const std::string> images,
                                                   const std::atomic<bool>& cancelled) const;
  // Streams the snapshot: against `parent` unless it is null. An error of `sink` ends it. Whether
  // the stream is whole is for the receiver to say; that the sender thought so, it says itself.
  Status send(const Snapshot& snapshot, const Snapshot* parent, bool packed,
              const std::atomic<bool>& cancelled,
              const std::function<Status(ByteView)>& sink) const;

 private:
  Result<std::string> ask(const std::string& command, const std::atomic<bool>& cancelled) const;
  Error explain(int exit_code, std::string_view said) const;

  Machine machine_;
};

}  // namespace icbd::pull
