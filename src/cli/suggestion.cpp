#include "suggestion.h"

#include <algorithm>
#include <vector>

namespace icbd::cli {
namespace {

std::size_t edits_between(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> edits(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) edits[i][0] = i;
  for (std::size_t j = 0; j <= b.size(); ++j) edits[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t changed = edits[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      edits[i][j] = std::min({edits[i - 1][j] + 1, edits[i][j - 1] + 1, changed});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        edits[i][j] = std::min(edits[i][j], edits[i - 2][j - 2] + 1);
    }
  }
  return edits[a.size()][b.size()];
}

}  // namespace

std::string suggest(std::string_view word, std::span<const std::string> known) {
  constexpr std::size_t edits_max = 2;
  constexpr std::size_t word_length_max = 64;  // a slip of a known word is not longer
  if (word.size() > word_length_max) return {};
  std::string_view best;
  std::size_t best_edits = edits_max + 1;
  for (const std::string& candidate : known) {
    const std::size_t edits = edits_between(word, candidate);
    if (edits >= best_edits || edits * 2 >= candidate.size()) continue;
    best = candidate;
    best_edits = edits;
  }
  return std::string(best);
}

}  // namespace icbd::cli
