// The durable steps of master and cache as a program that does one of them and ends, for tests that
// kill it, make its system calls fail, or cut its power:
//
//   repository_tool publish REPOSITORY IMAGE SUBVOLUME
//   repository_tool arrive MASTER_REPOSITORY CACHE_REPOSITORY IMAGE NUMBER   without a network
//   repository_tool list REPOSITORY                     after recovery: "IMAGE NUMBER STATE" lines
//
// Exit code 0 if it was done, 1 with the reason on stderr if not.

#include <chrono>
#include <cstdio>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "icbd/base/clock.h"
#include "icbd/base/log.h"
#include "icbd/catalog/names.h"
#include "icbd/replicator/replicator.h"
#include "icbd/repository/publish.h"
#include "icbd/repository/repository.h"
#include "icbd/source/repository_source.h"

namespace icbd {
namespace {

using namespace std::chrono_literals;

// Much longer than an arrival without a network takes; one that fails is tried again until then.
constexpr auto arrival_deadline = 5s;

Status publish(const std::string& directory, const std::string& image, const std::string& path,
               const Logger& logger) {
  ICBD_ASSIGN(const auto repository, repository::Repository::open(directory, logger));
  repository::PublishProgress progress;
  ICBD_ASSIGN(const auto report,
              repository::publish(*repository, {image, path, "a test"}, progress));
  std::printf("%u\n", report.version.facts.number.value());
  return {};
}

Status arrive(const std::string& from, const std::string& to, const std::string& image,
              const std::string& number_text, const Logger& logger) {
  ICBD_ASSIGN(const VersionNumber number, catalog::parse_version_number(number_text));
  ICBD_ASSIGN(const auto master, repository::Repository::open(from, logger));
  ICBD_ASSIGN(const auto cache, repository::Repository::open(to, logger));
  source::RepositorySource source(*master);
  const SystemClock clock;
  replicator::ReplicatorOptions options;
  options.fetch_timeout = 2s;
  options.poll_interval = 20ms;
  replicator::Replicator replicator(*cache, source, clock, options, logger);
  ICBD_TRY(replicator.start());
  const auto deadline = clock.now() + arrival_deadline;
  std::string failure = "it did not begin";
  while (clock.now() < deadline) {
    ICBD_ASSIGN(const catalog::Version version, cache->catalog().version(image, number));
    if (version.state == catalog::VersionState::complete) return {};
    // Looking into it begins the arrival.
    std::promise<Status> opened;
    replicator.open(version.serial, [&opened](const auto& result) {
      opened.set_value(result ? Status() : std::unexpected(result.error()));
    });
    if (const Status open = opened.get_future().get(); !open) failure = open.error().message();
    replicator.want(version.serial);
    for (const auto& [arriving, progress] : replicator.arriving())
      if (!progress.failure.empty()) failure = progress.failure;
    std::this_thread::sleep_for(2ms);
  }
  return fail(ErrorCode::timed_out, image + "@" + number_text + " did not arrive: " + failure);
}

Status list(const std::string& directory, const Logger& logger) {
  ICBD_ASSIGN(const auto repository, repository::Repository::open(directory, logger));
  ICBD_ASSIGN(const auto versions, repository->catalog().versions());
  for (const catalog::Version& version : versions)
    std::printf("%s %u %s\n", version.facts.image.c_str(), version.facts.number.value(),
                std::string(catalog::to_string(version.state)).c_str());
  return {};
}

Status run(const std::vector<std::string>& words) {
  ICBD_ASSIGN(const Logger logger, make_logger("repository_tool", "info"));
  if (words.size() == 4 && words[0] == "publish")
    return publish(words[1], words[2], words[3], logger);
  if (words.size() == 5 && words[0] == "arrive")
    return arrive(words[1], words[2], words[3], words[4], logger);
  if (words.size() == 2 && words[0] == "list") return list(words[1], logger);
  return fail(ErrorCode::invalid_argument, "the usage stands at the top of the source");
}

}  // namespace
}  // namespace icbd

int main(int count, char** arguments) {
  const auto done = icbd::run({arguments + 1, arguments + count});
  if (!done) std::fprintf(stderr, "repository_tool: %s\n", done.error().message().c_str());
  return done ? 0 : 1;
}
