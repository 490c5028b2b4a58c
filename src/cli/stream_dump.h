// A send stream in the words of `btrfs receive --dump`, so that what reads those can read ours.
//
// Lifecycle: one per run; it keeps the name of the subvolume that the stream is about, which stands
// before each path.
// Guarantees: a line for a line of the stock tool (6.2), byte by byte, but for three things. A byte
// that is not printable is escaped wherever it stands, not only in paths: text of a stream must not
// steer a terminal. The value of an extended attribute is printed to its end, not to its first NUL.
// The attributes of an inode are hexadecimal, as their 0x says. And of streams one after another,
// all are printed.
#pragma once

#include <string>

#include "icbd/sendstream/command.h"

namespace icbd::cli {

class StreamDump {
 public:
  // "" for a command of which the stock tool prints nothing: the end.
  std::string line(const sendstream::Command& command);

 private:
  std::string subvolume_;  // "./NAME"
};

}  // namespace icbd::cli
