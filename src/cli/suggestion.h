// "Did you mean": the known word that a mistyped one was probably meant to be. Pure.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace icbd::cli {

// The closest of `known` if at most two edits, and fewer than half its letters, lead there; else
// an empty string. An edit is a letter put in, left out, changed, or swapped with the next one.
std::string suggest(std::string_view word, std::span<const std::string> known);

}  // namespace icbd::cli
