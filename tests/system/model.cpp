#include "system/model.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "icbd/base/file.h"
#include "icbd/base/unique_fd.h"

namespace icbd::system_test {
namespace {

constexpr std::uint64_t most_read = 192 * 1024;
constexpr std::size_t most_wrong_text = 4000;

std::uint64_t mixed(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

void fill_block(std::span<std::byte> block, std::uint64_t seed, std::uint64_t number,
                std::uint32_t generation) {
  std::uint64_t state = mixed(seed + mixed(number * 0x9e3779b97f4a7c15 + generation));
  for (std::size_t at = 0; at < block.size(); at += sizeof state) {
    state += 0x9e3779b97f4a7c15;
    const std::uint64_t word = mixed(state);
    std::memcpy(&block[at], &word, std::min(sizeof word, block.size() - at));
  }
}

std::uint64_t blocks_of(std::uint64_t size) {
  return (size + model_block_size - 1) / model_block_size;
}

}  // namespace

Bytes ModelFile::expected(std::uint64_t offset, std::uint64_t length) const {
  length = offset >= size ? 0 : std::min(length, size - offset);
  Bytes bytes(length);
  Bytes block(model_block_size);
  for (std::uint64_t at = 0; at < length;) {
    const std::uint64_t number = (offset + at) / model_block_size;
    const std::uint64_t skip = (offset + at) % model_block_size;
    const std::uint64_t part = std::min(model_block_size - skip, length - at);
    if (generations[number] != 0) {
      fill_block(block, seed, number, generations[number]);
      std::memcpy(&bytes[at], &block[skip], part);
    }
    at += part;
  }
  return bytes;
}

std::uint64_t LiveImage::below(std::uint64_t bound) {
  return std::uniform_int_distribution<std::uint64_t>(0, bound - 1)(random_);
}

Status LiveImage::write(const std::string& name, std::size_t first_block, std::size_t blocks) {
  ModelFile& file = tree_.at(name);
  blocks = std::min(blocks, file.generations.size() - first_block);
  std::fill_n(file.generations.begin() + static_cast<std::ptrdiff_t>(first_block), blocks,
              ++generation_);
  const std::uint64_t offset = std::uint64_t{first_block} * model_block_size;
  const Bytes bytes = file.expected(offset, std::uint64_t{blocks} * model_block_size);
  ICBD_ASSIGN(const unique_fd fd, open_file(root_ / name, O_WRONLY));
  return write_at(fd.get(), bytes, offset);
}

Status LiveImage::fill(const std::string& name, std::uint64_t size) {
  ICBD_TRY(resize(name, 0));
  ICBD_TRY(resize(name, size));
  constexpr std::size_t step = 1024;
  for (std::size_t at = 0; at < tree_.at(name).generations.size(); at += step)
    ICBD_TRY(write(name, at, step));
  return {};
}

Status LiveImage::scribble(const std::string& name, std::size_t blocks) {
  const std::size_t count = tree_.at(name).generations.size();
  for (std::size_t done = 0; count > 0 && done < blocks;) {
    const std::size_t run = std::min<std::size_t>(1 + below(64), blocks - done);
    ICBD_TRY(write(name, below(count), run));
    done += run;
  }
  return {};
}

Status LiveImage::resize(const std::string& name, std::uint64_t size) {
  const auto [found, added] = tree_.try_emplace(name);
  ModelFile& file = found->second;
  if (added) file.seed = mixed(seed_ + ++files_made_);
  std::error_code error;
  std::filesystem::create_directories((root_ / name).parent_path(), error);
  ICBD_ASSIGN(const unique_fd fd, open_file(root_ / name, O_WRONLY | O_CREAT, 0644));
  // What a cut leaves of a last block is no function of its generation: it is made zeros.
  if (size < file.size && size % model_block_size != 0) size -= size % model_block_size;
  if (size > file.size && file.size % model_block_size != 0) {
    const std::uint64_t whole = blocks_of(file.size) - 1;
    if (ftruncate(fd.get(), static_cast<off_t>(whole * model_block_size)) != 0)
      return fail_errno("truncate " + name);
    file.generations[whole] = 0;
  }
  if (ftruncate(fd.get(), static_cast<off_t>(size)) != 0) return fail_errno("truncate " + name);
  file.size = size;
  file.generations.resize(blocks_of(size), 0);
  return {};
}

Status LiveImage::remove(const std::string& name) {
  tree_.erase(name);
  if (unlink((root_ / name).c_str()) != 0) return fail_errno("remove " + name);
  return {};
}

Status LiveImage::change() {
  for (std::uint64_t i = 0, count = 2 + below(5); i < count; ++i) {
    const std::uint64_t what = tree_.empty() ? 0 : below(10);
    if (what < 2) {
      ICBD_TRY(fill(fmt::format("d{}/f{}", below(3), files_made_), 1 + below(700'000)));
      continue;
    }
    const std::string name = std::next(tree_.begin(), static_cast<int>(below(tree_.size())))->first;
    if (what == 2 && tree_.size() > 5 && name.contains('/'))
      ICBD_TRY(remove(name));
    else if (what == 3)
      ICBD_TRY(resize(name, below(2 * tree_.at(name).size + 1)));
    else
      ICBD_TRY(scribble(name, 1 + below(100)));
  }
  return {};
}

void Model::add(int number, ModelTree tree) {
  auto shared = std::make_shared<const ModelTree>(std::move(tree));
  const std::lock_guard lock(mutex_);
  versions_.insert_or_assign(number, std::move(shared));
}

std::shared_ptr<const ModelTree> Model::version(int number) const {
  const std::lock_guard lock(mutex_);
  const auto found = versions_.find(number);
  return found == versions_.end() ? nullptr : found->second;
}

std::vector<int> Model::numbers() const {
  const std::lock_guard lock(mutex_);
  std::vector<int> numbers;
  for (const auto& [number, tree] : versions_) numbers.push_back(number);
  return numbers;
}

std::string Model::check(int number, const std::filesystem::path& directory) const {
  const auto tree = version(number);
  if (!tree) return fmt::format("version {} was never published", number);
  std::error_code error;
  std::size_t files = 0;
  using Walk = std::filesystem::recursive_directory_iterator;
  for (Walk entry(directory, error); !error && entry != Walk(); entry.increment(error))
    if (entry->is_regular_file(error)) ++files;
  if (error) return fmt::format("{}: {}", directory.string(), error.message());
  if (files != tree->size())
    return fmt::format("{} has {} files, not {}", directory.string(), files, tree->size());
  for (const auto& [name, file] : *tree) {
    const auto path = directory / name;
    const auto content = read_file(path, std::uint64_t{1} << 30);
    if (!content) return content.error().message();
    const Bytes expected = file.expected(0, file.size);
    if (*content == expected) continue;
    const auto [at, rest] = std::ranges::mismatch(*content, expected);
    return fmt::format("{} has {} bytes, {} expected; the first difference is at {}", path.string(),
                       content->size(), expected.size(), at - content->begin());
  }
  return "";
}

CheckedReaders::CheckedReaders(const Model& model, std::filesystem::path image, std::uint64_t seed,
                               unsigned threads)
    : model_(model), image_(std::move(image)) {
  for (unsigned i = 0; i < threads; ++i)
    threads_.emplace_back([this, seed = seed + i](std::stop_token stop) { read_on(stop, seed); });
}

CheckedReaders::~CheckedReaders() {
  stop();
}

void CheckedReaders::stop() {
  for (std::jthread& thread : threads_) thread.request_stop();
  threads_.clear();
}

std::string CheckedReaders::wrong() const {
  const std::lock_guard lock(mutex_);
  return wrong_;
}

void CheckedReaders::read_on(std::stop_token stop, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  while (!stop.stop_requested()) {
    const auto numbers = model_.numbers();
    if (numbers.empty()) {
      std::this_thread::yield();
      continue;
    }
    // Mostly the newest: it is the one that arrives.
    const std::size_t newest = numbers.size() - 1;
    const std::size_t which = random() % 3 == 0 ? random() % numbers.size() : newest;
    const Status read = read_once(numbers[which], random);
    if (read) {
      ++right_;
    } else if (read.error().code() != ErrorCode::corrupt) {
      ++errors_;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));  // it may be away for long
    } else {
      const std::lock_guard lock(mutex_);
      if (wrong_.size() < most_wrong_text) wrong_ += read.error().message() + "\n";
    }
  }
}

// `corrupt`, and nothing else, if the answer is wrong.
Status CheckedReaders::read_once(int number, std::mt19937_64& random) {
  const auto tree = model_.version(number);
  if (tree->empty()) return {};
  const auto chosen =
      std::next(tree->begin(), static_cast<std::ptrdiff_t>(random() % tree->size()));
  const ModelFile& file = chosen->second;
  const auto path = image_ / std::to_string(number) / chosen->first;
  const unique_fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return fail(ErrorCode::io, "open");
  struct stat status{};
  if (fstat(fd.get(), &status) != 0) return fail(ErrorCode::io, "fstat");
  const auto wrong = [&](std::string_view what) {
    return fail(ErrorCode::corrupt, fmt::format("{}: {}", path.string(), what));
  };
  if (static_cast<std::uint64_t>(status.st_size) != file.size)
    return wrong(fmt::format("is {} bytes long, not {}", status.st_size, file.size));
  const std::uint64_t offset = random() % (file.size + 1);
  const Bytes expected = file.expected(offset, 1 + random() % most_read);
  // A read may end early where the next page could not be had; what follows tells.
  Bytes got(expected.size());
  std::size_t size = 0;
  for (ssize_t n = 1; n > 0 && size < got.size(); size += static_cast<std::size_t>(n)) {
    n = pread(fd.get(), got.data() + size, got.size() - size, static_cast<off_t>(offset + size));
    if (n < 0) return fail(ErrorCode::io, "read");
  }
  got.resize(size);
  if (got == expected) return {};
  const auto [at, rest] = std::ranges::mismatch(got, expected);
  return wrong(fmt::format("{} bytes at {}: {} came, wrong from {} on", expected.size(), offset,
                           got.size(), offset + static_cast<std::uint64_t>(at - got.begin())));
}

}  // namespace icbd::system_test
