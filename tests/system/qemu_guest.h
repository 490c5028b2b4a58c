// A guest of qemu whose disk is a file of the view, as docs/operations.md starts it.
//
// Its processor stands still: what a guest would read of its disk is read by clients of qemu's own
// NBD server, through the same layers. Needs qemu-system-x86_64.
// Lifecycle: start() runs it; the destructor ends it, and so does the death of the test.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "harness/process.h"
#include "system/site.h"

namespace icbd::system_test {

class QemuGuest {
 public:
  // `command` is that of the document: a monitor at /run/debian.qmp, which is elsewhere here.
  static Result<std::unique_ptr<QemuGuest>> start(const Site& site, const std::string& command);

  // One session with the monitor: a line for each command. An error that quotes what it refuses.
  Status tell(const std::string& lines) const;
  // A command of qemu-io on the guest's disk, as if the guest did it: "write -P 7 0 64k". Its
  // result is in qemu's output only.
  Status use_disk(const std::string& command) const;
  // For NBD clients, for as long as the guest runs.
  Status export_disk() const;
  std::string disk_url() const;

 private:
  explicit QemuGuest(const std::filesystem::path& folder)
      : monitor_(folder / "guest.monitor"), server_(folder / "guest.nbd") {}

  std::string monitor_, server_;
  std::unique_ptr<harness::Process> process_;
};

}  // namespace icbd::system_test
