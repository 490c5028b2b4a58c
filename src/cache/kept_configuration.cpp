#include "kept_configuration.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>

#include "icbd/base/file.h"
#include "icbd/base/service_manager.h"

namespace icbd::cache {
namespace {

// Names under which a holder keeps descriptors.
constexpr const char* first_text = "configuration";
constexpr const char* last_text = "configuration-now";

Status keep_text(const char* name, std::string_view text) {
  const unique_fd memory(::memfd_create(name, MFD_CLOEXEC));
  if (!memory) return fail_errno("make memory for the configuration");
  ICBD_TRY(write_at(memory.get(), as_bytes(text), 0));
  return keep_descriptor(name, memory.get());
}

// Nothing if there is none.
Result<std::optional<std::string>> take_text(holder::Turn& turn, std::string_view name) {
  const auto kept = std::ranges::find(turn.descriptors, name, &holder::Descriptor::name);
  if (kept == turn.descriptors.end()) return std::nullopt;
  const unique_fd memory = std::move(kept->descriptor);
  turn.descriptors.erase(kept);
  struct stat status{};
  if (::fstat(memory.get(), &status) != 0) return fail_errno("look at the kept configuration");
  if (std::cmp_greater(status.st_size, config::text_length_max))
    return fail(ErrorCode::too_large, "the kept configuration is too long");
  Bytes text(static_cast<std::size_t>(status.st_size));
  ICBD_TRY(read_exactly_at(memory.get(), text, 0));
  return std::string(as_text(text));
}

}  // namespace

Result<config::Continuation> load_for_turn(holder::Turn& turn,
                                           const config::DaemonArguments& arguments) {
  ICBD_ASSIGN(auto first, take_text(turn, first_text));
  ICBD_ASSIGN(auto last, take_text(turn, last_text));
  if (!first) {
    ICBD_ASSIGN(first, config::read_text(arguments.config_file));
    ICBD_ASSIGN(auto configuration,
                config::parse_cache(*first, arguments.config_file, arguments.settings));
    ICBD_TRY(keep_text(first_text, *first));
    return config::Continuation{.configuration = std::move(configuration), .last = *first};
  }
  if (!last) last = first;
  ICBD_ASSIGN(auto continuation, config::continue_cache({.first = *first, .last = *last},
                                                        arguments.config_file, arguments.settings));
  if (continuation.last != *last) ICBD_TRY(keep_text(last_text, continuation.last));
  return continuation;
}

void log_continuation(const config::Continuation& continuation, const Logger& logger) {
  if (continuation.error)
    logger->error("the configuration has an error, and goes on as it was: {}",
                  continuation.error->message());
  for (const std::string& key : continuation.deferred)
    logger->warn("{} is different in the configuration, and changes only with a restart", key);
}

Result<config::Cache> load_again(const std::filesystem::path& file, config::Settings settings) {
  ICBD_ASSIGN(const std::string text, config::read_text(file));
  ICBD_ASSIGN(auto configuration, config::parse_cache(text, file.string(), settings));
  ICBD_TRY(keep_text(last_text, text));
  return configuration;
}

}  // namespace icbd::cache
