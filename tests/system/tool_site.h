// A master's and a cache's repository and a live subvolume on one BTRFS, worked on by
// repository_tool: as fast as tests need that do it thousands of times.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "harness/run.h"
#include "system/model.h"

namespace icbd::system_test {

class ToolSite {
 public:
  static constexpr const char* image = "image";

  // `root` is a BTRFS, empty or with what create() has made there. The same seed gives the same
  // changes.
  ToolSite(std::filesystem::path root, std::uint64_t seed);

  // The directories, and a live subvolume with files of all kinds.
  Status create();
  // What happens between two versions.
  Status change();

  std::filesystem::path live() const { return root_ / "live"; }
  std::filesystem::path master() const { return root_ / "master"; }
  std::filesystem::path cache() const { return root_ / "cache"; }
  static std::filesystem::path version(const std::filesystem::path& repository, int number);

  std::vector<std::string> publishing() const;
  std::vector<std::string> arriving(int number) const;
  // `wrapper` is a program with arguments that runs another one.
  static Result<harness::RunResult> tool(const std::vector<std::string>& words,
                                         const std::vector<std::string>& wrapper = {});
  // An error with what it said if it did not work.
  static Status must_do(const std::vector<std::string>& words);

  // Opens the repository, which recovers it: versions with their states.
  static Result<std::map<int, std::string>> list(const std::filesystem::path& repository);
  // "" if the image's directory has what list() says and nothing else.
  static std::string leftovers(const std::filesystem::path& repository);

 private:
  std::filesystem::path root_;
  std::mt19937_64 random_;
  LiveImage live_;
  std::uint64_t changes_ = 0;
};

}  // namespace icbd::system_test
