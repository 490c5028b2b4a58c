#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "icbd/base/file.h"
#include "icbd/base/quote.h"
#include "icbd/btrfs/send.h"

#include "answers.h"
#include "command.h"
#include "format.h"
#include "stream_output.h"
#include "stream_progress.h"
#include "version_words.h"

namespace icbd::cli {
namespace {

using nlohmann::json;

// A master that compares two versions that are nearly the same has nothing to say for a while.
constexpr std::chrono::minutes silence{10};

struct SendOptions {
  std::string subject;  // a version, or with a slash in it a subvolume here
  std::string parent;
  std::vector<std::string> clones;
  std::string protocol;  // "" if it was not said
  bool compressed_data = false;
  bool no_data = false;
  std::string compress = "none";
  std::string file;
  bool quiet = false;
  unsigned verbose = 0;

  bool is_local() const { return subject.find('/') != std::string::npos; }
};

Result<std::uint32_t> protocol_of(const SendOptions& options) {
  if (options.protocol.empty()) return options.compressed_data ? 2 : 1;
  const bool is_number =
      options.protocol.size() < 5 &&
      std::ranges::all_of(options.protocol, [](char c) { return c >= '0' && c <= '9'; });
  if (!is_number)
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("{} is no protocol: 1, 2, or 0 for the newest", quote(options.protocol)));
  return static_cast<std::uint32_t>(std::stoul(options.protocol));
}

// A send under way: its output, and who looks on.
struct Sending {
  StreamOutput& output;
  StreamProgress& progress;

  Status take(ByteView piece) {
    ICBD_TRY(output.write(piece));
    progress.add(piece.size());
    return {};
  }
};

// "win11@2", "2" or "stable", of the image that is sent.
Result<std::string> version_of_image(const std::string& image, const std::string& text) {
  const bool is_full = text.find('@') != std::string::npos;
  ICBD_ASSIGN(const VersionWords words, parse_version_words(is_full ? text : image + "@" + text));
  if (words.image == image) return words.version;
  return fail(ErrorCode::invalid_argument,
              fmt::format("{} is not a version of {}", words.name(), image));
}

Result<std::string> stream_path(const VersionWords& words, const SendOptions& options) {
  ICBD_ASSIGN(const std::uint32_t protocol, protocol_of(options));
  std::vector<std::string> query{fmt::format("proto={}", protocol)};
  if (!options.parent.empty()) {
    ICBD_ASSIGN(const std::string parent, version_of_image(words.image, options.parent));
    query.push_back("parent=" + parent);
  }
  for (const std::string& clone : options.clones) {
    ICBD_ASSIGN(const std::string version, version_of_image(words.image, clone));
    query.push_back("clone=" + version);
  }
  if (options.compressed_data) query.emplace_back("compressed_data=1");
  if (options.no_data) query.emplace_back("no_data=1");
  return words.path(fmt::format("/stream?{}", fmt::join(query, "&")));
}

// All of a full stream that is worth counting; of a difference nobody knows.
std::uint64_t expected_bytes(const json& version, const SendOptions& options) {
  const bool is_full = options.parent.empty() && options.clones.empty();
  if (!is_full || options.no_data || options.compressed_data) return 0;
  return number(version, "data_bytes");
}

json summary(const Sending& sending) {
  return {{"bytes", sending.progress.bytes()},
          {"bytes_written", sending.output.bytes()},
          {"seconds", static_cast<double>(sending.progress.elapsed().count()) / 1000}};
}

void say_result(const Context& context, const SendOptions& options, const std::string& name,
                const Sending& sending, json version) {
  sending.progress.finish();
  if (context.json) {
    json result = summary(sending);
    result["file"] = options.file;
    if (!version.is_null()) result["version"] = std::move(version);
    print_json(context.terminal, result);
  }
  const bool wanted = sending.progress.is_shown() || options.verbose > 0;
  if (options.quiet || !wanted) return;
  const std::uint64_t bytes = sending.progress.bytes();
  const auto milliseconds = std::max<std::int64_t>(sending.progress.elapsed().count(), 1);
  const std::uint64_t written = sending.output.bytes();
  sending.progress.say(
      fmt::format("sent {}: {} in {}, {}/s{}", printable(name), format_size(bytes),
                  format_duration(std::chrono::seconds(milliseconds / 1000)),
                  format_size(bytes * 1000 / static_cast<std::uint64_t>(milliseconds)),
                  written == bytes ? "" : fmt::format(", packed to {}", format_size(written))));
}

Result<StreamOutput> open_output(const Context& context, const SendOptions& options) {
  ICBD_ASSIGN(const codec::Setting setting, codec::parse_setting(options.compress));
  return StreamOutput::open(options.file, context.surroundings.output_fd, setting);
}

Status send_from_server(const Context& context, const SendOptions& options) {
  ICBD_ASSIGN(VersionWords words, parse_version_words(options.subject));
  ICBD_ASSIGN(json version, context.server.get(words.path()));
  words.version = std::to_string(number(version, "number"));
  ICBD_ASSIGN(const std::string path, stream_path(words, options));
  ICBD_ASSIGN(StreamOutput output, open_output(context, options));
  StreamProgress progress(context.terminal, !options.quiet, expected_bytes(version, options));
  progress.set_label(fmt::format("sending {}", words.name()));
  Sending sending{.output = output, .progress = progress};
  ICBD_TRY(
      context.server.download(path, silence, [&](ByteView piece) { return sending.take(piece); }));
  ICBD_TRY(output.finish());
  say_result(context, options, words.name(), sending, std::move(version));
  return {};
}

Result<unique_fd> open_root(const std::string& path) {
  return open_file(path, O_RDONLY | O_DIRECTORY);
}

Status send_from_here(const Context& context, const SendOptions& options) {
  btrfs::SendOptions how{.compressed_data = options.compressed_data, .no_data = options.no_data};
  ICBD_ASSIGN(how.protocol, protocol_of(options));
  ICBD_ASSIGN(const unique_fd root, open_root(options.subject));
  unique_fd parent;
  if (!options.parent.empty()) {
    ICBD_ASSIGN(parent, open_root(options.parent));
    how.parent_root_fd = parent.get();
  }
  std::vector<unique_fd> clones;
  for (const std::string& path : options.clones) {
    ICBD_ASSIGN(unique_fd clone, open_root(path));
    how.clone_root_fds.push_back(clone.get());
    clones.push_back(std::move(clone));
  }
  ICBD_ASSIGN(StreamOutput output, open_output(context, options));
  StreamProgress progress(context.terminal, !options.quiet, 0);
  progress.set_label(fmt::format("sending {}", quote(options.subject)));
  const bool is_watched = progress.is_shown() || options.verbose > 0;
  // Nobody has to touch the bytes: the kernel writes them where they are to go.
  if (const int fd = output.direct_fd(); fd >= 0 && !is_watched)
    return btrfs::send(root.get(), how, fd);
  Sending sending{.output = output, .progress = progress};
  ICBD_TRY(btrfs::send(root.get(), how, [&](ByteView piece) { return sending.take(piece); }));
  ICBD_TRY(output.finish());
  say_result(context, options, options.subject, sending, nullptr);
  return {};
}

Status send(const Context& context, const SendOptions& options) {
  const bool to_output = options.file.empty() || options.file == "-";
  if (context.json && to_output)
    return fail(ErrorCode::invalid_argument,
                "standard output cannot take both the stream and JSON: use -f FILE");
  return options.is_local() ? send_from_here(context, options) : send_from_server(context, options);
}

}  // namespace

Action define_send(Arguments& arguments) {
  const auto options = std::make_shared<SendOptions>();
  arguments.footer(
      "A PATH with a slash in it in the place of IMAGE@V is a read-only subvolume of this "
      "machine;\n"
      "parent and clone sources are then paths too. Without --compress, btrfs receive reads what\n"
      "comes out; with it, zstd -d, lz4 -d or gunzip unpacks it, and icbd receive by itself.");
  arguments.word(word_version, options->subject, "The version, as the master here knows it");
  arguments.option("-p,--parent", word_version, options->parent,
                   "Only the difference from this one, which the receiver has");
  arguments.option("-c,--clone-source", word_version, options->clones,
                   "The receiver has this one too; may be repeated");
  arguments.option("--proto", word_number, options->protocol,
                   "The stream's protocol: 1 (which everybody reads), 2, or 0 for the newest");
  arguments.flag("--compressed-data", options->compressed_data,
                 "Extents as they lie compressed on the disk; protocol 2");
  arguments.flag("--no-data", options->no_data, "Names and metadata only");
  arguments.option("--compress", "CODEC", options->compress,
                   "Pack the stream: zstd, lz4, zlib, each with :LEVEL if you like, or snappy");
  arguments.option("-f,--file", word_file, options->file,
                   "Write the stream here instead of to standard output");
  arguments.flag("-q,--quiet", options->quiet, "Say nothing but errors");
  arguments.flag("-v,--verbose", options->verbose, "Say what was sent, also without a terminal");
  return AskServer([options](const Context& context) { return send(context, *options); });
}

}  // namespace icbd::cli
