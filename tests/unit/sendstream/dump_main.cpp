// Prints the dump of the send stream on standard input.
#include <unistd.h>

#include <array>
#include <cstdio>

#include "icbd/sendstream/decoder.h"
#include "icbd/sendstream/dump.h"

namespace {

icbd::Status print_commands(icbd::sendstream::Decoder& decoder) {
  for (;;) {
    ICBD_ASSIGN(const auto command, decoder.next());
    if (!command) return {};
    std::puts(icbd::sendstream::dump(*command).c_str());
  }
}

icbd::Status print_stream(int fd) {
  icbd::sendstream::Decoder decoder;
  std::array<std::byte, 65536> piece;
  for (;;) {
    const ssize_t length = ::read(fd, piece.data(), piece.size());
    if (length < 0) return icbd::fail_errno("read standard input");
    if (length == 0) return decoder.finish();
    decoder.feed(icbd::ByteView(piece).first(static_cast<std::size_t>(length)));
    ICBD_TRY(print_commands(decoder));
  }
}

}  // namespace

int main() {
  const auto status = print_stream(STDIN_FILENO);
  if (!status) std::fprintf(stderr, "%s\n", status.error().message().c_str());
  return status ? 0 : 1;
}
