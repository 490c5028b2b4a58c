// "Did you mean": what a mistyped word was held against.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "icbd/rest/http.h"

#include "command_line.h"

namespace icbd::cli {

// "; did you mean list?", or nothing.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& known);

// Commands and long options; of a command, if one was recognised, only its own and everybody's.
std::vector<std::string> known_words(const CLI::App& app);

// The first word that is neither a command nor an option's value, if no command was recognised;
// else the first option that nobody knows.
std::string unknown_word(const CLI::App& app, std::span<const std::string> arguments);

// After the server did not find something: the image, version or tag of the command line that it
// does not have, and what was probably meant. Empty if there is nothing to say. Asks the server.
std::string suggest_names(const CLI::App& command, const rest::HttpClient& server);

}  // namespace icbd::cli
