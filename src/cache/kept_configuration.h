// The configuration of a worker: what the mount began with, as the holder keeps it, and what the
// file says now.
//
// Lifecycle: load_for_turn() once, when it is this worker's turn, which is when the file is read: a
// worker may stand by for weeks. load_again() for each reload. Both have the holder keep what the
// next worker needs.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "icbd/base/error.h"
#include "icbd/config/daemon.h"
#include "icbd/holder/holder.h"

namespace icbd::cache {

// Of the first worker, what the file says; later ones go on with what the mount began with, as
// config::continue_cache() does. Takes what it needs out of `turn`.
Result<config::Continuation> load_for_turn(holder::Turn& turn,
                                           const config::DaemonArguments& arguments);
// What differs from the file, for the log.
void log_continuation(const config::Continuation& continuation, const Logger& logger);

// As config::load_cache(). An error leaves what is kept as it is.
Result<config::Cache> load_again(const std::filesystem::path& file, config::Settings settings);

}  // namespace icbd::cache
