// What could stand where the cursor is: for shells, through the hidden command `__complete`.
//
// Guarantees: prints words, one per line, or a line ":files" or ":directories"; never an error; and
// no server keeps the shell waiting for longer than half a second.
#pragma once

#include <span>
#include <string>

#include "icbd/cli/cli.h"

#include "command_line.h"

namespace icbd::cli {

// The first argument of `icbd` with which a shell asks.
inline constexpr std::string_view complete_command = "__complete";

// `words`: what stands behind "icbd" up to the cursor; the last one is what is being written, and
// may be empty.
void complete(const CommandLine& line, std::span<const std::string> words,
              const Terminal& terminal);

}  // namespace icbd::cli
