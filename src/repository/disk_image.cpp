#include "disk_image.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "icbd/base/bytes.h"
#include "icbd/base/child_program.h"
#include "icbd/base/file.h"
#include "icbd/base/quote.h"

#include "disk_format.h"

namespace icbd::repository {
namespace {

using nlohmann::json;

constexpr int exit_no_program = 127;
// A chain that is longer is a loop, or nobody's work.
constexpr std::size_t backing_files_max = 64;

// QEMU locks single bytes of an image by open file descriptions (block/file-posix.c): a byte from
// 100 on for each right that it uses, one from 200 on for each that it leaves to nobody else.
// Rights are numbered as in enum BlockPermission (include/block/block-common.h).
constexpr off_t lock_of_use = 100;
constexpr off_t lock_of_refusal = 200;
constexpr off_t right_consistent_read = 0;
constexpr off_t right_write = 1;

struct flock one_byte(short type, off_t offset) {
  struct flock lock{};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = offset;
  lock.l_len = 1;
  return lock;
}

std::unexpected<Error> in_use(const std::filesystem::path& file) {
  return fail(ErrorCode::busy,
              fmt::format("a virtual machine has {} open: shut it down, or publish a snapshot of "
                          "its disk",
                          quote(file.string())));
}

// "qemu-img: Could not open '…': …", on one line.
std::string one_line(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  std::ranges::replace(text, '\n', ' ');
  const std::string quoted = quote(text);
  return quoted.substr(1, quoted.size() - 2);
}

std::unexpected<Error> explain(const ChildResult& result, const std::filesystem::path& file) {
  const std::string& said = result.errors;
  if (result.exit_code == exit_no_program)
    return fail(ErrorCode::unsupported,
                "qemu-img is needed to read it: install the package qemu-utils");
  if (said.contains("Failed to get") && said.contains("lock")) return in_use(file);
  if (said.contains("No space left on device")) return fail(ErrorCode::no_space, one_line(said));
  return fail(ErrorCode::io, fmt::format("qemu-img ended with {}: {}", result.exit_code,
                                         said.empty() ? "it said nothing" : one_line(said)));
}

Result<std::string> run_qemu_img(const std::vector<std::string>& words,
                                 const std::filesystem::path& file, const ChildOptions& options) {
  std::vector<std::string> arguments{"qemu-img"};
  arguments.insert(arguments.end(), words.begin(), words.end());
  ICBD_ASSIGN(ChildResult result, run_child(arguments, options));
  if (result.exit_code != 0) return explain(result, file);
  return std::move(result.output);
}

Result<json> ask_qemu_img(const std::vector<std::string>& words, const std::filesystem::path& file,
                          const std::atomic<bool>* cancelled) {
  ICBD_ASSIGN(const std::string answer, run_qemu_img(words, file, {.cancelled = cancelled}));
  json parsed = json::parse(answer, nullptr, false);
  if (!parsed.is_object())
    return fail(ErrorCode::io, fmt::format("qemu-img {} answered in a form that is not known here",
                                           words.front()));
  return parsed;
}

std::string text_member(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::uint64_t number_member(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}

Result<std::string> read_claim(int fd, std::uint64_t size) {
  constexpr std::size_t head_size = 4096;
  Bytes head(head_size), tail(sector_size);
  ICBD_ASSIGN(const std::size_t got, read_at(fd, head, 0));
  head.resize(got);
  ICBD_ASSIGN(const std::size_t ended,
              read_at(fd, tail, size < sector_size ? 0 : size - sector_size));
  tail.resize(ended);
  return claimed_format(head, tail);
}

// The incompatible feature of an external data file (docs/interop/qcow2.txt): it may be any file of
// this machine, and qemu-img opens it before it says so.
Status check_qcow2_header(int fd) {
  constexpr std::uint64_t features_offset = 72;
  constexpr std::byte external_data{4};
  Bytes features(8);  // big-endian
  ICBD_ASSIGN(const std::size_t got, read_at(fd, features, features_offset));
  Bytes version(4);
  ICBD_ASSIGN(const std::size_t versioned, read_at(fd, version, 4));
  if (got < features.size() || versioned < version.size() || version[3] < std::byte{3}) return {};
  if ((features[7] & external_data) != std::byte{0})
    return fail(ErrorCode::unsupported,
                "it keeps its data in another file: convert it with qemu-img convert first");
  return {};
}

// A VMDK's descriptor names the files with its data: only those beside it are taken.
Status check_extents(const json& info, const std::filesystem::path& file) {
  const auto specific = info.find("format-specific");
  if (specific == info.end() || !specific->is_object()) return {};
  const json data = specific->value("data", json::object());
  if (!data.is_object() || !data.contains("extents")) return {};
  for (const json& extent : data["extents"]) {
    const std::filesystem::path name = text_member(extent, "filename");
    const auto folder = name.lexically_normal().parent_path();
    if (!folder.empty() && folder != file.parent_path())
      return fail(
          ErrorCode::invalid_argument,
          fmt::format("it has its data in {}, which is not beside it", quote(name.string())));
  }
  return {};
}

Result<json> read_info(const std::filesystem::path& file, const std::string& format,
                       const std::atomic<bool>* cancelled) {
  if (format == "qcow2") {
    ICBD_ASSIGN(const unique_fd fd, open_file(file, O_RDONLY));
    ICBD_TRY(check_qcow2_header(fd.get()));
  }
  ICBD_ASSIGN(json info, ask_qemu_img({"info", "--output=json", "-f", format, file.string()}, file,
                                      cancelled));
  if (info.value("encrypted", json(false)) == json(true))
    return fail(ErrorCode::unsupported,
                "it is encrypted: convert it with qemu-img convert and its key first");
  ICBD_TRY(check_extents(info, file));
  return info;
}

// What the image is laid over. Its format has to be recorded: guessed by content, a raw backing
// file would be what a guest has written into it.
Result<std::optional<std::pair<std::string, std::string>>> backing_of(const json& info) {
  const std::string named = text_member(info, "backing-filename");
  if (named.empty()) return std::nullopt;
  const std::string path = text_member(info, "full-backing-filename");
  const std::string format = text_member(info, "backing-filename-format");
  if (!path.starts_with('/') && !named.starts_with('/'))
    return fail(ErrorCode::unsupported,
                fmt::format("its backing file {} is not a file on this machine", quote(named)));
  if (format.empty())
    return fail(ErrorCode::invalid_argument,
                fmt::format("it does not say which format its backing file {} has: record it with "
                            "qemu-img rebase -u -F FORMAT -b BACKING_FILE IMAGE",
                            quote(named)));
  return std::pair(path.empty() ? named : path, format);
}

Status follow_backing_files(json info, DiskImage& image, const std::atomic<bool>* cancelled) {
  while (true) {
    ICBD_ASSIGN(const auto backing, backing_of(info));
    if (!backing) return {};
    const auto& [path, format] = *backing;
    if (image.backing_files.size() >= backing_files_max)
      return fail(ErrorCode::too_large,
                  fmt::format("it has more than {} backing files", backing_files_max));
    struct stat status{};
    if (stat(path.c_str(), &status) != 0)
      return fail(ErrorCode::not_found,
                  fmt::format("its backing file {} is missing: bring it back, or correct its place "
                              "with qemu-img rebase -u",
                              quote(path)));
    if (!S_ISREG(status.st_mode))
      return fail(ErrorCode::unsupported,
                  fmt::format("its backing file {} is no regular file", quote(path)));
    image.backing_files.push_back(path);
    auto next = read_info(path, format, cancelled);
    if (!next)
      return std::unexpected(
          next.error().with_context(fmt::format("backing file {}", quote(path))));
    info = std::move(*next);
  }
}

// What qemu-img map prints may be long: an object a line, of which the bytes are counted that are
// neither holes nor zeros.
class MapReader {
 public:
  void add(std::string_view piece) {
    for (const char c : piece) {
      if (c != '\n') {
        line_ += c;
        continue;
      }
      take(std::exchange(line_, {}));
    }
  }
  std::uint64_t bytes() {
    take(std::exchange(line_, {}));
    return bytes_;
  }

 private:
  void take(std::string_view line) {
    const std::size_t begin = line.find('{'), end = line.rfind('}');
    if (begin == std::string_view::npos || end == std::string_view::npos) return;
    const json extent = json::parse(line.substr(begin, end - begin + 1), nullptr, false);
    if (extent.is_object() && extent.value("data", json()) == json(true) &&
        extent.value("zero", json()) == json(false))
      bytes_ += number_member(extent, "length");
  }

  std::string line_;
  std::uint64_t bytes_ = 0;
};

// What is cut off, a copy that did not end for example, reads as zeros: so the image's own tables
// are checked against its size.
Status check_consistency(const std::filesystem::path& file, const std::string& format,
                         const std::atomic<bool>* cancelled) {
  // Exit codes of qemu-img check (qemu-img(1)).
  constexpr int corrupt = 2;
  constexpr int leaked = 3;
  constexpr int no_check_for_this_format = 63;
  ICBD_ASSIGN(const ChildResult result,
              run_child({"qemu-img", "check", "-q", "-f", format, file.string()},
                        {.cancelled = cancelled}));
  switch (result.exit_code) {
    case 0:
    case leaked:
    case no_check_for_this_format:
      return {};
    case corrupt:
      return fail(ErrorCode::corrupt,
                  "it is damaged, or not all of it is there: qemu-img check "
                  "says more");
    default:
      return explain(result, file);
  }
}

// qemu-img convert -p prints "    (12.34/100%)\r".
std::optional<double> last_percentage(std::string_view piece) {
  const std::size_t end = piece.rfind("/100%");
  if (end == std::string_view::npos) return std::nullopt;
  const std::size_t begin = piece.rfind('(', end);
  if (begin == std::string_view::npos) return std::nullopt;
  double percentage = 0;
  const std::string_view number = piece.substr(begin + 1, end - begin - 1);
  const auto parsed = std::from_chars(number.data(), number.data() + number.size(), percentage);
  if (parsed.ec != std::errc()) return std::nullopt;
  return std::clamp(percentage, 0.0, 100.0);
}

}  // namespace

Result<DiskImage> inspect_disk_image(const std::filesystem::path& file, const std::string& format,
                                     const std::atomic<bool>* cancelled) {
  ICBD_ASSIGN(const unique_fd fd, open_disk_image(file));
  struct stat status{};
  if (fstat(fd.get(), &status) != 0) return fail_errno("fstat");
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size == 0) return fail(ErrorCode::invalid_argument, "it is empty");
  ICBD_ASSIGN(const std::string claimed, read_claim(fd.get(), size));
  DiskImage image;
  ICBD_ASSIGN(image.format, choose_format(file, claimed, format));
  if (image.format == "raw") {
    image.size = size;
    if (size % sector_size != 0)
      return fail(ErrorCode::invalid_argument,
                  fmt::format("its size, {} bytes, is no multiple of {}: it is no disk, or not all "
                              "of one",
                              size, sector_size));
    return image;
  }
  ICBD_ASSIGN(const json info, read_info(file, image.format, cancelled));
  image.size = number_member(info, "virtual-size");
  if (image.size == 0) return fail(ErrorCode::invalid_argument, "its disk is empty");
  ICBD_TRY(follow_backing_files(info, image, cancelled));
  ICBD_TRY(check_consistency(file, image.format, cancelled));
  return image;
}

Result<unique_fd> open_disk_image(const std::filesystem::path& file) {
  ICBD_ASSIGN(unique_fd fd, open_file(file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  // As QEMU does for a reader that lets nobody write. Filesystems without locks have no users that
  // could be told.
  for (const off_t offset : {lock_of_use + right_consistent_read, lock_of_refusal + right_write}) {
    auto lock = one_byte(F_RDLCK, offset);
    static_cast<void>(fcntl(fd.get(), F_OFD_SETLK, &lock));
  }
  for (const off_t offset : {lock_of_use + right_write, lock_of_refusal + right_consistent_read}) {
    auto lock = one_byte(F_WRLCK, offset);
    if (fcntl(fd.get(), F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK) return in_use(file);
  }
  return fd;
}

Result<bool> is_other_format(int fd, const std::filesystem::path& name) {
  struct stat status{};
  if (fstat(fd, &status) != 0) return fail_errno("fstat");
  ICBD_ASSIGN(const std::string claimed,
              read_claim(fd, static_cast<std::uint64_t>(status.st_size)));
  const auto format = choose_format(name, claimed, "");
  return format && *format != "raw";
}

Result<std::uint64_t> measure_raw(const std::filesystem::path& file, const DiskImage& image,
                                  const std::atomic<bool>* cancelled) {
  MapReader map;
  ICBD_TRY(
      run_qemu_img({"map", "--output=json", "-f", image.format, file.string()}, file,
                   {.cancelled = cancelled, .on_output = [&map](std::string_view piece) -> Status {
                      map.add(piece);
                      return {};
                    }}));
  return map.bytes();
}

Status convert_to_raw(const std::filesystem::path& file, const DiskImage& image,
                      const std::filesystem::path& destination, const ConvertProgress& progress) {
  const auto follow = [&](std::string_view piece) -> Status {
    const auto percentage = last_percentage(piece);
    if (percentage && progress.bytes_done)
      *progress.bytes_done =
          static_cast<std::uint64_t>(*percentage / 100 * static_cast<double>(progress.bytes_total));
    return {};
  };
  ICBD_TRY(run_qemu_img(
      {"convert", "-p", "-f", image.format, "-O", "raw", file.string(), destination.string()}, file,
      {.cancelled = progress.cancelled, .on_output = follow}));
  return {};
}

}  // namespace icbd::repository
