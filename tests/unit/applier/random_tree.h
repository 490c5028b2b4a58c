// Random changes of a small tree, through real system calls.
#pragma once

#include <cstdint>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

namespace icbd::applier {

class RandomTree {
 public:
  RandomTree(std::filesystem::path root, std::uint64_t seed)
      : root_(std::move(root)), random_(seed) {}

  // One random change; some do nothing because the tree has nothing to do it to.
  void change();

 private:
  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
  template <typename T>
  const T* pick(const std::vector<T>& choices) {
    return choices.empty() ? nullptr : &choices[below(choices.size())];
  }
  std::vector<std::filesystem::path> files() const;
  std::vector<std::filesystem::path> directories() const;
  std::filesystem::path new_name();

  void write_file(const std::filesystem::path& file, std::uint64_t offset, std::uint64_t length);
  void make_file();
  void replace_file();
  void change_in_place();
  void punch_hole();
  void resize();
  void share_range();
  void share_whole_file();
  void move_file();
  void move_directory();
  void make_directory();
  void remove_something();
  void add_name();
  void make_symlink();
  void change_attributes();

  std::filesystem::path root_;
  std::mt19937_64 random_;
  std::uint64_t names_ = 0;
};

}  // namespace icbd::applier
