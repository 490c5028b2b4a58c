#include "lzo.h"

#include <algorithm>
#include <cstdint>

namespace icbd::sendstream {
namespace {

std::unexpected<Error> damaged(const char* how) {
  return fail(ErrorCode::corrupt, how);
}

// A stream is a row of instructions. Each copies from what was unpacked already, then some
// literals; how many literals the last one copied decides what the next one means.
class Lzo1xUnpacker {
 public:
  Lzo1xUnpacker(ByteView packed, std::span<std::byte> output) : packed_(packed), output_(output) {}

  Result<std::size_t> run() {
    begin();
    while (!ended_ && problem_ == nullptr) step();
    if (problem_ != nullptr) return damaged(problem_);
    return written_;
  }

 private:
  // No instruction copies as many: a long run of literals came last.
  static constexpr unsigned many = 4;
  static constexpr std::size_t far = 16384;  // also the distance that marks the end

  void begin() {
    if (packed_.empty()) return set_problem("LZO data of no bytes");
    const auto first = std::to_integer<unsigned>(packed_.front());
    if (first <= 17) return;  // an ordinary instruction
    next_byte();
    const unsigned literals = first - 17;
    copy_literals(literals);
    last_literals_ = std::min(literals, many);
  }

  void step() {
    const unsigned instruction = next_byte();
    if (instruction < 16) return short_or_literals(instruction);
    std::size_t length = 0, distance = 0;
    unsigned literals = 0;
    if (instruction < 32) {
      length = 2 + extended_length(instruction & 7, 7);
      const unsigned tail = next_pair();
      literals = tail & 3;
      distance = far + ((std::size_t{instruction} & 8) << 11) + (tail >> 2);
      if (distance == far) return end();
    } else if (instruction < 64) {
      length = 2 + extended_length(instruction & 31, 31);
      const unsigned tail = next_pair();
      literals = tail & 3;
      distance = (tail >> 2) + 1;
    } else {
      length = instruction < 128 ? 3 + ((instruction >> 5) & 1) : 5 + ((instruction >> 5) & 3);
      literals = instruction & 3;
      distance = (std::size_t{next_byte()} << 3) + ((instruction >> 2) & 7) + 1;
    }
    copy_match(distance, length);
    copy_literals(literals);
    last_literals_ = literals;
  }

  // Instructions below 16.
  void short_or_literals(unsigned instruction) {
    if (last_literals_ == 0) {
      copy_literals(3 + extended_length(instruction, 15));
      last_literals_ = many;
      return;
    }
    const bool after_many = last_literals_ == many;
    const std::size_t near = (std::size_t{next_byte()} << 2) + (instruction >> 2);
    copy_match(after_many ? near + 2049 : near + 1, after_many ? 3 : 2);
    last_literals_ = instruction & 3;
    copy_literals(last_literals_);
  }

  void end() { ended_ = true; }

  unsigned next_byte() {
    if (position_ == packed_.size()) {
      set_problem("LZO data stop before their end");
      return 0;
    }
    return std::to_integer<unsigned>(packed_[position_++]);
  }
  unsigned next_pair() {
    const unsigned low = next_byte();
    return low | (next_byte() << 8);
  }

  // `field`, or if it is 0: `base`, 255 for each zero byte that follows, and the byte after these.
  std::size_t extended_length(unsigned field, std::size_t base) {
    if (field != 0) return field;
    std::size_t length = base;
    unsigned more = next_byte();
    for (; more == 0 && problem_ == nullptr; more = next_byte()) length += 255;
    return length + more;
  }

  void copy_literals(std::size_t count) {
    if (problem_ != nullptr) return;
    if (count > packed_.size() - position_) return set_problem("LZO data stop before their end");
    if (count > output_.size() - written_) return set_problem("LZO data are longer than a sector");
    std::ranges::copy(packed_.subspan(position_, count), output_.begin() + offset(written_));
    position_ += count;
    written_ += count;
  }

  // Source and destination may overlap: that is how runs are said.
  void copy_match(std::size_t distance, std::size_t length) {
    if (problem_ != nullptr) return;
    if (distance > written_) return set_problem("LZO data refer to what is before their beginning");
    if (length > output_.size() - written_) return set_problem("LZO data are longer than a sector");
    for (; length > 0; --length, ++written_) output_[written_] = output_[written_ - distance];
  }

  static std::ptrdiff_t offset(std::size_t position) {
    return static_cast<std::ptrdiff_t>(position);
  }
  void set_problem(const char* problem) {
    if (problem_ == nullptr) problem_ = problem;
  }

  ByteView packed_;
  std::span<std::byte> output_;
  std::size_t position_ = 0;  // in packed_
  std::size_t written_ = 0;   // of output_
  unsigned last_literals_ = 0;
  bool ended_ = false;
  const char* problem_ = nullptr;
};

}  // namespace

Result<std::size_t> unpack_lzo1x(ByteView packed, std::span<std::byte> output) {
  return Lzo1xUnpacker(packed, output).run();
}

Result<std::size_t> unpack_lzo_extent(ByteView packed, std::size_t sector_size,
                                      std::span<std::byte> output) {
  constexpr std::size_t length_size = sizeof(std::uint32_t);
  ByteReader reader(packed);
  const auto total = reader.read<std::uint32_t>();  // this length included
  if (reader.failed() || total < length_size || total > packed.size())
    return damaged("the length of LZO data is not theirs");
  reader = ByteReader(packed.subspan(length_size, total - length_size));
  std::size_t written = 0;
  Bytes sector(sector_size);
  while (reader.remaining() > 0 && written < output.size()) {
    // A length never lies across two sectors of the packed data; zeros are put before it.
    const std::size_t left = sector_size - (total - reader.remaining()) % sector_size;
    if (left < length_size) reader.take(left);
    const auto length = reader.read<std::uint32_t>();
    const ByteView piece = reader.take(length);
    if (reader.failed()) return damaged("a sector of LZO data is longer than all of them");
    ICBD_ASSIGN(const std::size_t unpacked, unpack_lzo1x(piece, sector));
    const std::size_t fitting = std::min(unpacked, output.size() - written);
    std::copy_n(sector.begin(), fitting, output.begin() + static_cast<std::ptrdiff_t>(written));
    written += fitting;
    // Only the last sector may be short.
    if (unpacked < sector_size) break;
  }
  return written;
}

}  // namespace icbd::sendstream
