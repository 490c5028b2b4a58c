// Any stream against the parent of the golden streams: the model takes it or refuses it, and what
// it says afterwards makes sense.
#include <array>
#include <cstdint>
#include <cstdlib>
#include <set>
#include <string>

#include "icbd/base/limits.h"
#include "icbd/sendstream/decoder.h"
#include "icbd/sendstream/tree_model.h"

#include "sendstream_repair.h"

namespace icbd::sendstream {
namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

// What version "one" of tests/unit/sendstream/golden/make.sh holds, by and large.
TreeModel model_of_golden_parent() {
  static constexpr FileIndex small(2);
  static constexpr std::array<ParentName, 13> names = {{
      {"", FileIndex(0), true, 0},
      {"disk.raw", FileIndex(1), false, 262144},
      {"small", small, false, 20},
      {"hard-link", small, false, 20},
      {"shrinks", FileIndex(3), false, 12288},
      {"directory", FileIndex(4), true, 0},
      {"directory/below", FileIndex(5), true, 0},
      {"directory/below/file", FileIndex(6), false, 6},
      {"directory/removed", FileIndex(7), false, 5},
      {"directory/symlink", FileIndex(8), false, 0},
      {"etc", FileIndex(9), true, 0},
      {"fifo", FileIndex(10), false, 0},
      {"name with space", FileIndex(11), false, 0},
  }};
  auto model = TreeModel::from_parent(names);
  require(model.has_value());
  return std::move(*model);
}

void follow(TreeModel& model, ByteView stream) {
  Decoder decoder;
  decoder.feed(stream);
  for (;;) {
    const auto command = decoder.next();
    if (!command || !*command || !model.apply(**command)) return;
  }
}

// Sorted, disjoint, none of them touching the next.
void check_ranges(const std::vector<ByteRange>& ranges) {
  std::uint64_t last_end = 0;
  bool first = true;
  for (const ByteRange& range : ranges) {
    require(!range.empty() && range.end() <= limits::file_size);
    require(first || range.offset > last_end);
    last_end = range.end();
    first = false;
  }
}

void check_disjoint(const std::vector<ByteRange>& left, const std::vector<ByteRange>& right) {
  auto other = right.begin();
  for (const ByteRange& range : left) {
    while (other != right.end() && other->end() <= range.offset) ++other;
    require(other == right.end() || intersect(range, *other).empty());
  }
}

void check(const TreeModel& model) {
  std::set<std::string> seen;
  for (const std::string& path : model.paths()) {
    require(seen.insert(path).second);
    const Lineage* lineage = model.lineage(path);
    if (!lineage) continue;
    check_ranges(lineage->updated);
    check_ranges(lineage->rewritten);
    check_disjoint(lineage->updated, lineage->rewritten);
  }
}

}  // namespace
}  // namespace icbd::sendstream

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace icbd::sendstream;
  const icbd::Bytes stream = repair_checksums({reinterpret_cast<const std::byte*>(data), size});
  TreeModel with_parent = model_of_golden_parent(), without;
  for (TreeModel* model : {&with_parent, &without}) {
    follow(*model, stream);
    check(*model);
  }
  return 0;
}
