#include "icbd/repository/verify.h"

#include <fmt/format.h>

#include "content_check.h"

namespace icbd::repository {

Result<VerifyReport> verify_version(const Repository& repository, const catalog::Version& version,
                                    VerifyProgress& progress) {
  const catalog::VersionFacts& facts = version.facts;
  if (version.state != catalog::VersionState::complete)
    return fail(ErrorCode::invalid_argument,
                fmt::format("{}@{} is {}: what has not landed is verified when it does",
                            facts.image, facts.number.value(), to_string(version.state)));
  ICBD_ASSIGN(const unique_fd root, repository.open_version(facts.image, facts.number));
  // Its own, read anew: the shared one may have pages in memory.
  ICBD_ASSIGN(const auto pages, manifest::FilePageStore::open_read_only(
                                    repository.manifest_path(facts.image, facts.number)));
  VerifyReport report;
  const auto add = [&](std::string problem) {
    if (!problem.empty()) report.problems.push_back(std::move(problem));
  };
  if (const Status checked = check_manifest_pages(*pages, facts.manifest); !checked) {
    add(checked.error().message());
    return report;
  }
  ICBD_ASSIGN(const manifest::Reader reader, manifest::Reader::open(*pages, facts.manifest));
  ICBD_ASSIGN(std::string names, metadata_differences(root.get(), reader));
  add(std::move(names));
  ICBD_ASSIGN(std::string bytes,
              data_differences(root.get(), reader,
                               {progress.bytes_total, progress.bytes_done, &progress.cancelled}));
  add(std::move(bytes));
  if (progress.cancelled) return fail(ErrorCode::cancelled, "the verification was given up");
  report.bytes = progress.bytes_done;
  return report;
}

}  // namespace icbd::repository
