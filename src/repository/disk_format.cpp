#include "disk_format.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <optional>

#include "icbd/base/quote.h"

namespace icbd::repository {
namespace {

using namespace std::string_view_literals;

constexpr std::string_view raw = "raw";
constexpr std::array formats = {raw,     "qcow2"sv, "vmdk"sv, "vdi"sv,      "vhdx"sv,
                                "vpc"sv, "qed"sv,   "qcow"sv, "parallels"sv};

struct Signature {
  std::size_t offset;
  std::string_view bytes;
  std::string_view format;
};
// Of disk images: QEMU's block/*.c. Of archives: their formats' own descriptions; a tar has its
// magic at 257 (POSIX, pax).
constexpr std::array signatures = {
    Signature{0, "QFI\xfb\0\0\0\1"sv, "qcow"},
    Signature{0, "QFI\xfb"sv, "qcow2"},
    Signature{0, "KDMV"sv, "vmdk"},
    Signature{0, "COWD"sv, "vmdk"},
    Signature{0, "# Disk Descriptor"sv, "vmdk"},
    Signature{64, "\x7f\x10\xda\xbe"sv, "vdi"},
    Signature{0, "vhdxfile"sv, "vhdx"},
    Signature{0, "conectix"sv, "vpc"},
    Signature{0, "QED\0"sv, "qed"},
    Signature{0, "WithoutFreeSpace"sv, "parallels"},
    Signature{0, "WithouFreSpacExt"sv, "parallels"},
    Signature{0, "\x1f\x8b"sv, "gzip"},
    Signature{0,
              "\xfd"
              "7zXZ\0"sv,
              "xz"},
    Signature{0, "\x28\xb5\x2f\xfd"sv, "zstd"},
    Signature{0, "BZh"sv, "bzip2"},
    Signature{0, "PK\3\4"sv, "zip"},
    Signature{0, "7z\xbc\xaf\x27\x1c"sv, "7z"},
    Signature{257, "ustar"sv, "tar"},
};

struct Name {
  std::string_view extension;
  std::string_view format;
};
constexpr std::array names = {Name{"", raw},           Name{".raw", raw},
                              Name{".img", raw},       Name{".dd", raw},
                              Name{".bin", raw},       Name{".iso", raw},
                              Name{".qcow2", "qcow2"}, Name{".qcow", "qcow2"},
                              Name{".qcow", "qcow"},   Name{".vmdk", "vmdk"},
                              Name{".vdi", "vdi"},     Name{".vhdx", "vhdx"},
                              Name{".vhd", "vpc"},     Name{".vpc", "vpc"},
                              Name{".qed", "qed"},     Name{".hdd", "parallels"}};

bool has(ByteView bytes, const Signature& signature) {
  if (bytes.size() < signature.offset + signature.bytes.size()) return false;
  return as_text(bytes.subspan(signature.offset, signature.bytes.size())) == signature.bytes;
}

bool is_format(std::string_view word) {
  return std::ranges::find(formats, word) != formats.end();
}

std::unexpected<Error> refuse(std::string why) {
  return fail(ErrorCode::invalid_argument, std::move(why));
}

// "gzip" is no disk, whatever its name says.
std::string what_to_say(std::string_view named, std::string_view claimed) {
  if (!is_format(claimed)) return "unpack it first, or say --format raw if that is a disk";
  if (claimed == raw || named == claimed) return fmt::format("say --format {}", claimed);
  return fmt::format("say --format {} or --format {}", named, claimed);
}

}  // namespace

std::string claimed_format(ByteView head, ByteView tail) {
  for (const Signature& signature : signatures)
    if (has(head, signature)) return std::string(signature.format);
  // A fixed VHD is a raw disk with a footer.
  if (as_text(tail).starts_with("conectix")) return "vpc";
  return std::string(raw);
}

Result<std::string> choose_format(const std::filesystem::path& file, std::string_view claimed,
                                  std::string_view wanted) {
  if (!wanted.empty() && !is_format(wanted))
    return refuse(fmt::format("{} is no format that can be read; there are {}", quote(wanted),
                              fmt::join(formats, ", ")));
  if (!wanted.empty()) return std::string(wanted);

  std::string extension = file.extension().string();
  std::ranges::transform(extension, extension.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  std::optional<std::string_view> named;
  for (const Name& name : names) {
    if (name.extension != extension) continue;
    if (name.format == claimed) return std::string(claimed);
    if (!named) named = name.format;
  }
  if (!named)
    return refuse(
        fmt::format("its name does not say that it is a disk, and its content looks like "
                    "{}: {}",
                    claimed, what_to_say(claimed, claimed)));
  if (claimed == raw)
    return refuse(
        fmt::format("it is named like {}, but has nothing of it inside: say --format raw "
                    "if it is a raw disk",
                    *named));
  if (*named == raw && is_format(claimed))
    return refuse(
        fmt::format("it is named like a raw disk, but its content looks like {}, which a "
                    "guest can write into a raw disk: {}",
                    claimed, what_to_say(*named, claimed)));
  return refuse(fmt::format("it is named like {}, but its content looks like {}: {}", *named,
                            claimed, what_to_say(*named, claimed)));
}

}  // namespace icbd::repository
