// One command of every kind, with every member set to something that can be told apart.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "icbd/base/bytes.h"
#include "icbd/sendstream/command.h"

namespace icbd::sendstream {

inline Uuid sample_uuid(std::uint8_t first) {
  Uuid uuid;
  for (std::size_t i = 0; i < uuid.bytes.size(); ++i)
    uuid.bytes[i] = static_cast<std::byte>(first + i);
  return uuid;
}

inline Bytes to_bytes(std::string_view text) {
  const ByteView view = as_bytes(text);
  return Bytes(view.begin(), view.end());
}

inline std::vector<Command> sample_commands() {
  static constexpr std::string_view data = "the data of a write";
  const InodeNumber inode(0x1122334455667788);
  return {
      Subvolume{"image", sample_uuid(1), 42},
      Snapshot{"image", sample_uuid(1), 43, sample_uuid(100), 41},
      MakeFile{"o257-7-0", inode},
      MakeDirectory{"o258-7-0", inode},
      MakeNode{"o259-7-0", inode, 0x801, 060644},
      MakeFifo{"o260-7-0", inode, 0, 010644},
      MakeSocket{"o261-7-0", inode, 0, 0140755},
      MakeSymlink{"o262-7-0", inode, "../target with space"},
      Rename{"o257-7-0", "directory/disk.raw"},
      Link{"directory/other", "directory/disk.raw"},
      Unlink{"directory/other"},
      RemoveDirectory{"directory"},
      SetXattr{"file", "user.comment", to_bytes("value")},
      SetXattr{"file", "user.empty", {}},
      RemoveXattr{"file", "user.comment"},
      Write{"file", 4096, as_bytes(data)},
      EncodedWrite{"file", 131072, 1000, 2000, 500, 2, 0, as_bytes(data)},
      Clone{"file", {8192, 4096}, sample_uuid(9), 7, "source", 65536},
      Truncate{"file", 123456789012345},
      ChangeMode{"file", 0644},
      ChangeOwner{"file", 1000, 1001},
      SetTimes{"file", {1, 2}, {-3, 999'999'999}, {5, 6}, Timestamp{7, 8}},
      UpdateExtent{"disk.raw", {131072, 4096}},
      Fallocate{"disk.raw", 3, {4096, 8192}},
      FileAttributes{"disk.raw", 0x140},
      EnableVerity{"disk.raw", 1, 4096, to_bytes("salt"), to_bytes("signature")},
      End{},
  };
}

}  // namespace icbd::sendstream
