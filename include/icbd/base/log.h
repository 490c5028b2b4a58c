// The logger that is handed to whoever may speak.
//
// Purpose: spdlog without its global registry: main() makes one and passes it down. Pure folders
// (sendstream, manifest, codec) do not log. Thread-safe; cheap to copy.
// Levels: error = someone must act; warning = icbd helped itself, look when you have time;
// info = a version's life; debug = for developers.
#pragma once

#include <spdlog/logger.h>

#include <memory>
#include <string_view>

#include "icbd/base/error.h"

namespace icbd {

using Logger = std::shared_ptr<spdlog::logger>;

// Writes to stderr, one line per message. `level` is one of debug, info, warning, error.
Result<Logger> make_logger(std::string_view program, std::string_view level);
// From now on, for everybody who has a copy of it. An error if there is no such level.
Status set_level(spdlog::logger& logger, std::string_view level);
// Swallows everything; for tests.
Logger make_silent_logger();

}  // namespace icbd
