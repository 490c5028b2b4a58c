#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "icbd/applier/receive.h"
#include "icbd/base/quote.h"
#include "icbd/sendstream/decoder.h"
#include "icbd/sendstream/dump.h"

#include "answers.h"
#include "command.h"
#include "format.h"
#include "stream_dump.h"
#include "stream_input.h"
#include "stream_progress.h"

namespace icbd::cli {
namespace {

using nlohmann::json;

struct ReceiveOptions {
  std::string file;  // "" or "-": standard input
  std::string path;  // an existing directory; the subvolumes are made in it
  std::string root;  // "": that of the mount
  bool stop_at_end = false;
  bool chroot = false;  // which is always so
  std::uint64_t errors_max = 1;
  bool force_decompress = false;
  bool dump = false;  // print the stream instead
  bool quiet = false;
  unsigned verbose = 0;
};

// What is said, as by the stock tool: names unless it is to be quiet, identities with -v, every
// command with -vv.
class Sayings final : public applier::ReceiveObserver {
 public:
  Sayings(StreamProgress& progress, const ReceiveOptions& options)
      : progress_(progress), level_(options.quiet ? 0 : 1 + options.verbose) {}

  // Names of the stream's must not steer the terminal.
  void begins(const applier::Beginning& beginning) override {
    const std::string name = printable(beginning.name);
    const bool full = !beginning.parent_uuid;
    progress_.set_label(fmt::format("receiving {}", quote(beginning.name)));
    if (level_ >= 1) progress_.say(fmt::format("At {} {}", full ? "subvol" : "snapshot", name));
    if (level_ >= 2)
      progress_.say(fmt::format(
          "receiving {} {} uuid={}, stransid={}{}", full ? "subvol" : "snapshot", name,
          beginning.uuid.to_string(), beginning.transaction_id,
          full ? "" : fmt::format(", parent_uuid={}", beginning.parent_uuid->to_string())));
  }
  void applies(const sendstream::Command& command) override {
    if (level_ >= 3) progress_.say(sendstream::dump(command));
  }
  void passes_over(const Error& error) override {
    progress_.say(fmt::format("icbd: passed over: {}", printable(error.message())));
  }

 private:
  StreamProgress& progress_;
  const unsigned level_;
};

// Streams one after another, each with its header and end.
Status dump_streams(const StreamInput& input, std::ostream& out) {
  sendstream::Decoder decoder;
  StreamDump words;
  ICBD_TRY(input.read([&](ByteView piece) -> Status {
    if (decoder.ended()) decoder = sendstream::Decoder();
    decoder.feed(piece);
    for (;;) {
      auto command = decoder.next();
      if (!command) return std::unexpected(command.error());
      if (!*command) break;
      if (const std::string line = words.line(**command); !line.empty()) out << line << '\n';
      if (!decoder.ended()) continue;
      if (decoder.rest().empty()) break;
      sendstream::Decoder next;
      next.feed(decoder.rest());
      decoder = std::move(next);
    }
    out.flush();
    if (!out) return fail(ErrorCode::io, "write the dump to standard output");
    return {};
  }));
  return decoder.finish();
}

// What became of what was made, behind the reason.
Error describe_failure(const Error& error, applier::Receiver& receiver) {
  const std::string reason = printable(error.message());
  const std::string name = receiver.name();
  const auto discarded = receiver.discard();
  if (!discarded)
    return {error.code(), fmt::format("{}; what had arrived could not be deleted: {}", reason,
                                      printable(discarded.error().message()))};
  if (!*discarded) return {error.code(), reason};
  return {error.code(), fmt::format("{}; what had arrived of {} was deleted", reason, quote(name))};
}

json describe(const std::vector<applier::Received>& received) {
  json list = json::array();
  for (const applier::Received& one : received) {
    json parent;
    if (one.parent_uuid) parent = one.parent_uuid->to_string();
    list.push_back(
        {{"path", one.path.string()}, {"uuid", one.uuid.to_string()}, {"parent_uuid", parent}});
  }
  return {{"received", std::move(list)}};
}

Result<std::vector<applier::Received>> receive_streams(applier::Receiver& receiver,
                                                       const StreamInput& input,
                                                       const ReceiveOptions& options,
                                                       StreamProgress& progress) {
  const auto demand = [&]() -> std::size_t {
    constexpr std::size_t plenty = 1 << 20;
    return options.stop_at_end ? receiver.missing() : plenty;
  };
  ICBD_TRY(input.read([&](ByteView piece) { return receiver.feed(piece); }, demand,
                      [&](std::size_t bytes) { progress.add(bytes); }));
  progress.finish();
  return receiver.finish();
}

Status receive(const Place& place, const ReceiveOptions& options) {
  if (options.dump != options.path.empty())
    return fail(ErrorCode::invalid_argument,
                options.dump ? "receive --dump takes no PATH" : "receive needs a PATH, or --dump");
  ICBD_ASSIGN(const StreamInput input,
              StreamInput::open(options.file, place.surroundings.input_fd));
  if (options.dump) return dump_streams(input, place.terminal.out);
  StreamProgress progress(place.terminal, !options.quiet, input.size());
  Sayings sayings(progress, options);
  applier::ReceiveOptions how{.policy = {},
                              .write_encoded = !options.force_decompress,
                              .stop_at_end = options.stop_at_end,
                              .errors_max = options.errors_max,
                              .search_root = options.root,
                              .observer = &sayings};
  if (options.root.empty()) {
    ICBD_ASSIGN(how.search_root, applier::mount_root_of(options.path));
  }
  ICBD_ASSIGN(applier::Receiver receiver, applier::Receiver::open(options.path, how));
  const auto received = receive_streams(receiver, input, options, progress);
  if (!received) return std::unexpected(describe_failure(received.error(), receiver));
  if (place.json) print_json(place.terminal, describe(*received));
  return {};
}

}  // namespace

Action define_receive(Arguments& arguments) {
  const auto options = std::make_shared<ReceiveOptions>();
  arguments.footer(
      "Takes the place of btrfs receive. Exit code 1: whatever has failed. Streams that are "
      "packed\n"
      "(zstd, lz4, gzip, snappy) are unpacked.");
  arguments.word(word_path, options->path, "A directory on BTRFS", Need::optional);
  arguments.option("-f", word_file, options->file,
                   "Read the stream from here instead of standard input");
  arguments.flag("-e,--terminate-on-end", options->stop_at_end,
                 "End after the first stream, and leave what follows to the next reader");
  arguments.flag("-C,--chroot", options->chroot, "Confine the stream to PATH, which is always so");
  arguments.option("-E,--max-errors", word_number, options->errors_max,
                   "Give up with this many errors in a stream (1); 0: read it to its end");
  arguments.option("-m", "ROOT", options->root,
                   "Look for parents below this directory too, not below the mount of PATH");
  arguments.flag("--force-decompress", options->force_decompress,
                 "Unpack compressed extents instead of writing them as they are");
  arguments.flag("--dump", options->dump, "Print the stream as btrfs receive --dump does");
  arguments.flag("-q,--quiet", options->quiet, "Say nothing but errors");
  arguments.flag("-v,--verbose", options->verbose, "Say more; twice: every command");
  return WorkHere([options](const Place& place) -> Result<int> {
    const Status done = receive(place, *options);
    if (done) return exit_done;
    place.terminal.errors << fmt::format("icbd: {}\n", printable(done.error().message()));
    return exit_failed;
  });
}

}  // namespace icbd::cli
