// "Did you mean": what a mistyped word was held against.
#pragma once

#include <CLI/CLI.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace icbd::cli {

// "; did you mean list?", or nothing.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& known);

// Commands and long options.
std::vector<std::string> known_words(const CLI::App& app);

// The first word that is neither a command nor an option's value, if no command was recognised;
// else the first option that nobody knows.
std::string unknown_word(const CLI::App& app, std::span<const std::string> arguments);

}  // namespace icbd::cli
