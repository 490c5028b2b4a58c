// Any text as a configuration of either daemon: refused with the file's name, or accepted, and then
// a comment at its end changes nothing.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "icbd/config/config.h"

namespace {

void check(bool condition) {
  if (!condition) std::abort();
}

template <typename Parse>
void parse_both_ways(const std::string& text, Parse parse) {
  const auto parsed = parse(text, "fuzzed.toml");
  if (!parsed) {
    check(parsed.error().code() == icbd::ErrorCode::invalid_argument);
    check(parsed.error().message().contains("fuzzed.toml"));
    return;
  }
  const auto again = parse(text + "\n# a comment\n", "other.toml");
  check(again && *again == *parsed);
  check(parsed->repository.is_absolute());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  parse_both_ways(text, [](std::string_view toml, const std::string& name) {
    return icbd::config::parse_master(toml, name);
  });
  parse_both_ways(text, [](std::string_view toml, const std::string& name) {
    return icbd::config::parse_cache(toml, name);
  });
  return 0;
}
