// "Did you mean": the known word that a mistyped one was probably meant to be. Pure.
#pragma once

#include <span>
#include <string_view>

namespace icbd {

// The closest of `candidates` to `word` by edit distance (a letter put in, left out, replaced, or
// swapped with its neighbour), if it is close enough to be a slip: at most a third of the word's
// letters. Empty if none is.
std::string_view closest(std::string_view word, std::span<const std::string_view> candidates);

}  // namespace icbd
