#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <optional>

#include "icbd/applier/receive.h"
#include "icbd/base/file.h"
#include "icbd/base/quote.h"
#include "icbd/sendstream/decoder.h"
#include "icbd/sendstream/dump.h"

#include "command.h"
#include "format.h"
#include "progress_bar.h"

namespace icbd::cli {
namespace {

// A send through the default pipe of 64 KiB is half as fast; 1 MiB is the most that a process
// without privileges may ask for.
constexpr int pipe_size = 1024 * 1024;
constexpr std::size_t piece_size = 256 * 1024;
constexpr std::chrono::milliseconds progress_interval{200};

struct ReceiveOptions {
  std::string file;   // "" or "-": standard input
  std::string path;   // an existing directory; the subvolume is made in it
  bool dump = false;  // print the stream instead
};

// Where a stream comes from.
class Input {
 public:
  static Result<Input> open(const std::string& file, int standard_input) {
    Input input;
    input.fd_ = standard_input;
    if (!file.empty() && file != "-") {
      ICBD_ASSIGN(input.file_, open_file(file, O_RDONLY));
      input.fd_ = input.file_.get();
    }
    struct stat status{};
    if (::fstat(input.fd_, &status) != 0) return fail_errno("look at the stream's file");
    if (S_ISREG(status.st_mode)) input.size_ = static_cast<std::uint64_t>(status.st_size);
    // Only makes it faster.
    if (S_ISFIFO(status.st_mode)) ::fcntl(input.fd_, F_SETPIPE_SZ, pipe_size);
    return input;
  }

  // 0 if nobody knows.
  std::uint64_t size() const { return size_; }

  // Hands over everything, piece by piece.
  Status read(const std::function<Status(ByteView piece)>& sink) const {
    Bytes piece(piece_size);
    while (true) {
      const ssize_t length = ::read(fd_, piece.data(), piece.size());
      if (length < 0 && errno == EINTR) continue;
      if (length < 0) return fail_errno("read the stream");
      if (length == 0) return {};
      ICBD_TRY(sink(ByteView(piece).first(static_cast<std::size_t>(length))));
    }
  }

 private:
  unique_fd file_;
  int fd_ = -1;
  std::uint64_t size_ = 0;
};

Status dump_stream(const Input& input, std::ostream& out) {
  sendstream::Decoder decoder;
  ICBD_TRY(input.read([&](ByteView piece) -> Status {
    decoder.feed(piece);
    for (;;) {
      auto command = decoder.next();
      if (!command) return std::unexpected(command.error());
      if (!*command) break;
      out << sendstream::dump(**command) << '\n';
    }
    out.flush();
    if (!out) return fail(ErrorCode::io, "write the dump to standard output");
    return {};
  }));
  return decoder.finish();
}

// On standard error, if that is a terminal: standard output is for the result.
class StreamProgress {
 public:
  StreamProgress(const Terminal& terminal, std::uint64_t size)
      : shown_{.out = terminal.errors,
               .errors = terminal.errors,
               .interactive = terminal.errors_interactive,
               .errors_interactive = terminal.errors_interactive,
               .width = terminal.width,
               .clock = terminal.clock,
               .pause = terminal.pause},
        size_(size) {}

  void add(std::size_t bytes, const std::string& name) {
    done_ += bytes;
    if (!shown_.interactive || name.empty()) return;
    if (!bar_) bar_.emplace(shown_, fmt::format("receiving {}", quote(name)));
    const auto now = shown_.clock.now();
    if (drawn_ && now - *drawn_ < progress_interval) return;
    drawn_ = now;
    bar_->update({.done = done_, .total = size_, .bytes_per_second = {}, .remaining = {}});
  }
  void finish() {
    if (bar_) bar_->finish();
  }

 private:
  const Terminal shown_;
  const std::uint64_t size_;
  std::uint64_t done_ = 0;
  std::optional<ProgressBar> bar_;
  std::optional<Clock::TimePoint> drawn_;
};

Result<applier::Received> receive_stream(applier::Receiver& receiver, const Input& input,
                                         const Terminal& terminal) {
  StreamProgress progress(terminal, input.size());
  ICBD_TRY(input.read([&](ByteView piece) {
    Status fed = receiver.feed(piece);
    if (fed) progress.add(piece.size(), receiver.name());
    return fed;
  }));
  progress.finish();
  return receiver.finish();
}

// What became of what was made, behind the reason. Names of the stream's must not steer the
// terminal.
Error describe_failure(const Error& error, applier::Receiver& receiver) {
  const std::string reason = printable(error.message());
  const auto discarded = receiver.discard();
  if (!discarded)
    return {error.code(), fmt::format("{}; what had arrived could not be deleted: {}", reason,
                                      printable(discarded.error().message()))};
  if (!*discarded) return {error.code(), reason};
  return {error.code(),
          fmt::format("{}; what had arrived of {} was deleted", reason, quote(receiver.name()))};
}

// Makes a subvolume of a send stream, or prints the stream, one command a line.
Status receive(const Terminal& terminal, const ReceiveOptions& options, int input_fd) {
  if (options.dump != options.path.empty())
    return fail(ErrorCode::invalid_argument,
                options.dump ? "receive --dump takes no PATH" : "receive needs a PATH, or --dump");
  ICBD_ASSIGN(const Input input, Input::open(options.file, input_fd));
  if (options.dump) return dump_stream(input, terminal.out);
  ICBD_ASSIGN(applier::Receiver receiver, applier::Receiver::open(options.path));
  const auto received = receive_stream(receiver, input, terminal);
  if (!received) return std::unexpected(describe_failure(received.error(), receiver));
  terminal.out << fmt::format("received {}\n", printable(received->path.string()));
  return {};
}

}  // namespace

Action define_receive(Arguments& arguments) {
  const auto options = std::make_shared<ReceiveOptions>();
  arguments.footer(
      "Exit code 4: the stream's parent, a version that it shares with, or its file is not there.");
  arguments.word(word_path, options->path, "A directory on BTRFS; parents are looked for below it",
                 Need::optional);
  arguments.option("-f", word_file, options->file,
                   "Read the stream from here instead of standard input");
  arguments.flag("--dump", options->dump, "Print the stream, one command a line");
  return WorkHere([options](const Place& place) -> Result<int> {
    if (place.json)
      return fail(ErrorCode::invalid_argument, "--json is for commands that ask a server");
    ICBD_TRY(receive(place.terminal, *options, place.surroundings.input_fd));
    return exit_done;
  });
}

}  // namespace icbd::cli
