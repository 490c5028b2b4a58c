#include "system/tool_site.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <set>
#include <sstream>

namespace icbd::system_test {

ToolSite::ToolSite(std::filesystem::path root, std::uint64_t seed)
    : root_(std::move(root)), random_(seed), live_(live(), seed) {}

Status ToolSite::create() {
  for (const auto& directory : {master(), cache()}) std::filesystem::create_directory(directory);
  ICBD_TRY(harness::run_checked({"btrfs", "subvolume", "create", live().string()}));
  ICBD_TRY(live_.fill("disk", 700'000));
  for (const char* name : {"a", "b", "c/d"}) ICBD_TRY(live_.fill(name, 3'000));
  ICBD_TRY(harness::shell_checked(
      "cd '" + live().string() +
      "'; ln -s target soft; ln a hard; mkfifo fifo; setfattr -n user.note -v x b; "
      "chmod 4755 a; setcap cap_net_raw+ep c/d; echo x > frozen; chattr +i frozen"));
  return {};
}

Status ToolSite::change() {
  ++changes_;
  ICBD_TRY(live_.scribble("disk", 20));
  ICBD_TRY(harness::shell_checked(
      fmt::format("cd '{}'; echo {} > note; chattr -i frozen; echo x >> frozen; chattr +i frozen; "
                  "touch new.{}; rm -f new.{}; mv c/d c/e; mv c/e c/d",
                  live().string(), random_(), changes_, changes_ - 1)));
  return {};
}

std::filesystem::path ToolSite::version(const std::filesystem::path& repository, int number) {
  return repository / image / std::to_string(number);
}

std::vector<std::string> ToolSite::publishing() const {
  return {"publish", master().string(), image, live().string()};
}

std::vector<std::string> ToolSite::arriving(int number) const {
  return {"arrive", master().string(), cache().string(), image, std::to_string(number)};
}

Result<harness::RunResult> ToolSite::tool(const std::vector<std::string>& words,
                                          const std::vector<std::string>& wrapper) {
  std::vector<std::string> command = wrapper;
  command.emplace_back(ICBD_REPOSITORY_TOOL);
  command.insert(command.end(), words.begin(), words.end());
  return harness::run(command);
}

Status ToolSite::must_do(const std::vector<std::string>& words) {
  ICBD_ASSIGN(const harness::RunResult result, tool(words));
  if (result.exit_code == 0) return {};
  return fail(ErrorCode::io, fmt::format("{} ended with {}: {}", fmt::join(words, " "),
                                         result.exit_code, result.output));
}

Result<std::map<int, std::string>> ToolSite::list(const std::filesystem::path& repository) {
  ICBD_ASSIGN(const harness::RunResult result, tool({"list", repository.string()}));
  if (result.exit_code != 0)
    return fail(ErrorCode::io,
                fmt::format("{} cannot be opened: {}", repository.string(), result.output));
  std::map<int, std::string> states;
  std::istringstream lines(result.output);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string name, state;
    int number = 0;
    if (words >> name >> number >> state && name == image) states[number] = state;
  }
  return states;
}

std::string ToolSite::leftovers(const std::filesystem::path& repository) {
  const auto states = list(repository);
  if (!states) return states.error().message();
  std::set<std::string> expected, found;
  for (const auto& [number, state] : *states)
    if (state != "remote")
      expected.insert(fmt::format("{}{}", state == "arriving" ? ".arriving-" : "", number));
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(repository / image, error))
    found.insert(entry.path().filename().string());
  if (found == expected) return "";
  return fmt::format("there is {}, the catalog names {}", found, expected);
}

}  // namespace icbd::system_test
