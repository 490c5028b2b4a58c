#include "stream_dump.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>
#include <string_view>

namespace icbd::cli {
namespace {

using namespace sendstream;

// As in C, and what cannot be printed in octal.
std::string escape(std::string_view text) {
  constexpr std::string_view special = "\a\b\033\f\n\r\t\v \\";
  constexpr std::string_view letters = "abefnrtv \\";
  std::string escaped;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (const auto at = special.find(c); at != std::string_view::npos)
      escaped += {'\\', letters[at]};
    else if (byte >= 0x20 && byte < 0x7f)
      escaped += c;
    else
      escaped += fmt::format("\\{:03o}", byte);
  }
  return escaped;
}

// The stock tool escapes no attribute and no clone source; here, what cannot be printed is.
std::string value(std::string_view text) {
  std::string escaped;
  for (const char c : text) escaped += c == ' ' || c == '\\' ? std::string(1, c) : escape({&c, 1});
  return escaped;
}

// In the local time zone.
std::string time(Timestamp stamp) {
  const std::time_t seconds = stamp.seconds;
  std::tm local{};
  if (::localtime_r(&seconds, &local) == nullptr) return fmt::format("@{}", stamp.seconds);
  return fmt::format("{:%FT%T%z}", local);
}

std::string_view characters(ByteView bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// A command's title, path and the rest; "" as the rest is none.
struct Parts {
  std::string_view title;
  std::string path;
  std::string rest;
};

std::string join(const Parts& parts) {
  constexpr std::size_t path_width = 31;  // of shorter paths, so that what follows stands in line
  const std::string path = escape(parts.path);
  if (parts.rest.empty()) return fmt::format("{:<16}{}", parts.title, path);
  return fmt::format("{:<16}{:<{}} {}", parts.title, path, path_width, parts.rest);
}

class Words {
 public:
  explicit Words(const std::string& subvolume) : subvolume_(subvolume) {}

  Parts operator()(const Subvolume& command) const {
    return {"subvol", subvolume_,
            fmt::format("uuid={} transid={}", command.uuid.to_string(), command.transaction_id)};
  }
  Parts operator()(const Snapshot& command) const {
    return {"snapshot", subvolume_,
            fmt::format("uuid={} transid={} parent_uuid={} parent_transid={}",
                        command.uuid.to_string(), command.transaction_id,
                        command.parent_uuid.to_string(), command.parent_transaction_id)};
  }
  Parts operator()(const MakeFile& command) const { return {"mkfile", at(command.path), ""}; }
  Parts operator()(const MakeDirectory& command) const { return {"mkdir", at(command.path), ""}; }
  Parts operator()(const MakeFifo& command) const { return {"mkfifo", at(command.path), ""}; }
  Parts operator()(const MakeSocket& command) const { return {"mksock", at(command.path), ""}; }
  Parts operator()(const MakeNode& command) const {
    return {"mknod", at(command.path),
            fmt::format("mode={:o} dev=0x{:x}", command.mode, command.device)};
  }
  Parts operator()(const MakeSymlink& command) const {
    return {"symlink", at(command.path), "dest=" + escape(command.target)};
  }
  Parts operator()(const Rename& command) const {
    return {"rename", at(command.path), "dest=" + escape(at(command.to))};
  }
  Parts operator()(const Link& command) const {
    return {"link", at(command.path), "dest=" + escape(command.existing)};
  }
  Parts operator()(const Unlink& command) const { return {"unlink", at(command.path), ""}; }
  Parts operator()(const RemoveDirectory& command) const { return {"rmdir", at(command.path), ""}; }
  Parts operator()(const SetXattr& command) const {
    return {"set_xattr", at(command.path),
            fmt::format("name={} data={} len={}", value(command.name),
                        value(characters(command.value)), command.value.size())};
  }
  Parts operator()(const RemoveXattr& command) const {
    return {"remove_xattr", at(command.path), "name=" + value(command.name)};
  }
  Parts operator()(const Write& command) const {
    return {"write", at(command.path),
            fmt::format("offset={} len={}", command.offset, command.data.size())};
  }
  Parts operator()(const EncodedWrite& command) const {
    return {"encoded_write", at(command.path),
            fmt::format("offset={} len={}, unencoded_file_len={}, unencoded_len={}, "
                        "unencoded_offset={}, compression={}, encryption={}",
                        command.offset, command.data.size(), command.unencoded_file_length,
                        command.unencoded_length, command.unencoded_offset, command.compression,
                        command.encryption.value_or(0))};
  }
  Parts operator()(const Clone& command) const {
    return {
        "clone", at(command.path),
        fmt::format("offset={} len={} from={} clone_offset={}", command.range.offset,
                    command.range.length, value(at(command.source_path)), command.source_offset)};
  }
  Parts operator()(const Truncate& command) const {
    return {"truncate", at(command.path), fmt::format("size={}", command.size)};
  }
  Parts operator()(const ChangeMode& command) const {
    return {"chmod", at(command.path), fmt::format("mode={:o}", command.mode)};
  }
  Parts operator()(const ChangeOwner& command) const {
    return {"chown", at(command.path), fmt::format("gid={} uid={}", command.gid, command.uid)};
  }
  Parts operator()(const SetTimes& command) const {
    return {"utimes", at(command.path),
            fmt::format("atime={} mtime={} ctime={}", time(command.accessed),
                        time(command.modified), time(command.changed))};
  }
  Parts operator()(const UpdateExtent& command) const {
    return {"update_extent", at(command.path),
            fmt::format("offset={} len={}", command.range.offset, command.range.length)};
  }
  Parts operator()(const Fallocate& command) const {
    return {"fallocate", at(command.path),
            fmt::format("mode={} offset={} len={}", command.mode, command.range.offset,
                        command.range.length)};
  }
  Parts operator()(const FileAttributes& command) const {
    return {"fileattr", at(command.path), fmt::format("fileattr=0x{:x}", command.attributes)};
  }
  Parts operator()(const EnableVerity& command) const {
    return {"enable_verity", at(command.path),
            fmt::format("algorithm={} block_size={} salt_len={} sig_len={}", command.algorithm,
                        command.block_size, command.salt.size(), command.signature.size())};
  }
  Parts operator()(const End&) const { return {}; }

 private:
  std::string at(const std::string& path) const { return subvolume_ + "/" + path; }

  const std::string& subvolume_;
};

}  // namespace

std::string StreamDump::line(const Command& command) {
  if (const auto* full = std::get_if<Subvolume>(&command)) subvolume_ = "./" + full->path;
  if (const auto* snapshot = std::get_if<Snapshot>(&command)) subvolume_ = "./" + snapshot->path;
  const Parts parts = std::visit(Words(subvolume_), command);
  return parts.title.empty() ? "" : join(parts);
}

}  // namespace icbd::cli
