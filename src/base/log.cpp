#include "icbd/base/log.h"

#include <fmt/format.h>
#include <spdlog/sinks/null_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>

namespace icbd {

Status set_level(spdlog::logger& logger, std::string_view level) {
  if (level == "debug")
    logger.set_level(spdlog::level::debug);
  else if (level == "info")
    logger.set_level(spdlog::level::info);
  else if (level == "warning")
    logger.set_level(spdlog::level::warn);
  else if (level == "error")
    logger.set_level(spdlog::level::err);
  else
    return fail(ErrorCode::invalid_argument,
                fmt::format("log level \"{}\" is not one of debug, info, warning, error", level));
  return {};
}

Result<Logger> make_logger(std::string_view program, std::string_view level) {
  auto sink = std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
  auto logger = std::make_shared<spdlog::logger>(std::string(program), std::move(sink));
  ICBD_TRY(set_level(*logger, level));
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %n %^%l%$ %v", spdlog::pattern_time_type::utc);
  logger->flush_on(spdlog::level::debug);
  return logger;
}

Logger make_silent_logger() {
  return std::make_shared<spdlog::logger>("silent",
                                          std::make_shared<spdlog::sinks::null_sink_mt>());
}

}  // namespace icbd
