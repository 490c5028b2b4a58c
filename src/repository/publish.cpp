#include "icbd/repository/publish.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <optional>
#include <utility>

#include "icbd/base/clock.h"
#include "icbd/base/file.h"
#include "icbd/base/quote.h"
#include "icbd/btrfs/subvolume.h"
#include "icbd/catalog/names.h"

#include "compose.h"
#include "facts_file.h"
#include "previous_version.h"
#include "publish_draft.h"
#include "publish_source.h"

namespace icbd::repository {
namespace {

using catalog::Version;
using catalog::VersionState;

Status check_words(const PublishRequest& request) {
  ICBD_TRY(catalog::check_image_name(request.image));
  if (request.message.size() > limits::message_length)
    return fail(ErrorCode::too_large, fmt::format("the message has {} bytes, at most {} are kept",
                                                  request.message.size(), limits::message_length));
  for (const std::string& tag : request.tags) ICBD_TRY(catalog::check_tag_name(tag));
  return {};
}

catalog::VersionFacts facts_of(const PublishRequest& request, VersionNumber number,
                               const BuiltManifest& built, const btrfs::SubvolumeInfo& info) {
  catalog::VersionFacts facts = facts_from(built, info);
  facts.image = request.image;
  facts.number = number;
  facts.message = request.message;
  facts.published = SystemClock().wall();
  return facts;
}

// A crash before the catalog's commit leaves a hidden subvolume that recovery removes; one after
// it leaves a version that recovery renames. Until it is renamed, open_version() knows where it is.
Result<Version> commit(Repository& repository, Draft& draft, const catalog::VersionFacts& facts) {
  ICBD_TRY(btrfs::sync_filesystem(draft.root_fd()));
  ICBD_TRY(write_facts(draft.facts(), {.facts = facts}));
  ICBD_ASSIGN(const VersionSerial serial,
              repository.catalog().add_version(facts, VersionState::complete));
  draft.keep();
  if (const Status renamed = draft.rename_into_place(); !renamed)
    return std::unexpected(renamed.error().with_context(
        fmt::format("{}@{} is published, but gets its name only at the next start", facts.image,
                    facts.number.value())));
  return repository.catalog().version(serial);
}

// What is published, where it comes after, and what of it is marked.
struct Intent {
  PublishSource source;
  VersionNumber number;
  std::optional<Version> parent;
  Marks marks;
};

// An empty directory is most often one where something is not mounted.
Status check_not_empty(const PublishSource& source, const Marks& marks) {
  if (source.kind != SourceKind::directory) return {};
  if ((marks.boot && !marks.boot->outside.empty()) ||
      (marks.target && !marks.target->outside.empty()))
    return {};
  std::error_code error;
  if (!std::filesystem::is_empty(source.path, error) || error) return {};
  return std::unexpected(refusal(
      source.path, Error(ErrorCode::invalid_argument, "it is empty: is something not mounted?")));
}

Result<Intent> find_intent(Repository& repository, const PublishRequest& request,
                           const std::atomic<bool>* cancelled) {
  Intent intent;
  ICBD_ASSIGN(intent.source, find_source(repository, request, cancelled));
  ICBD_ASSIGN(intent.number, repository.catalog().next_number(request.image));
  ICBD_ASSIGN(intent.parent, newest_complete(repository, request.image));
  ICBD_ASSIGN(intent.marks, plan_marks(repository, intent.source, request,
                                       intent.parent ? &intent.parent->facts : nullptr, cancelled));
  ICBD_TRY(check_not_empty(intent.source, intent.marks));
  return intent;
}

// The version is there already: a tag that cannot be given is no reason to call it failed.
void give_tags(Repository& repository, const PublishRequest& request, PublishReport& report) {
  for (const std::string& tag : request.tags) {
    const Status given = repository.catalog().set_tag(
        {.image = request.image, .name = tag, .number = report.version.facts.number});
    if (!given)
      report.warnings.push_back(
          fmt::format("it did not get the tag {}: {}", tag, given.error().message()));
  }
}

Result<BuiltManifest> build(Repository& repository, const PublishRequest& request,
                            const Intent& intent, const Draft& draft, PublishProgress& progress) {
  progress.bytes_done = 0;
  progress.bytes_total = 0;
  progress.phase = PublishPhase::hashing;
  ICBD_ASSIGN(const auto pages, repository.pages(request.image, intent.number, true));
  ICBD_ASSIGN(auto built,
              build_next_manifest(repository, draft.root_fd(), intent.parent, *pages, progress));
  ICBD_TRY(pages->sync());
  return built;
}

// What would be marked, told without a draft.
Result<std::string> expected(const std::optional<Mark>& mark, const PublishSource& source,
                             Status (*check)(int, const std::string&),
                             std::vector<std::string>& notes) {
  if (!mark) return std::string();
  // A disk alone keeps its boot files; a tree has to have them.
  Status there;
  if (source.kind != SourceKind::disk_image && mark->outside.empty()) {
    ICBD_ASSIGN(const unique_fd root, open_file(source.path, O_RDONLY | O_DIRECTORY));
    there = check(root.get(), mark->inside);
  }
  if (!there && !mark->inherited) return std::unexpected(refusal(source.path, there.error()));
  if (mark->inherited)
    notes.push_back(fmt::format("{} was marked in the version before{}", quote(mark->inside),
                                there ? ", and is again" : ", but is not there"));
  return there ? mark->inside : std::string();
}

}  // namespace

std::string_view to_string(PublishPhase phase) {
  switch (phase) {
    case PublishPhase::preparing:
      return "preparing";
    case PublishPhase::copying:
      return "copying";
    case PublishPhase::converting:
      return "converting";
    case PublishPhase::hashing:
      return "hashing";
  }
  return "unknown";
}

Result<PublishReport> publish(Repository& repository, const PublishRequest& request,
                              PublishProgress& progress) {
  ICBD_TRY(check_words(request));
  const auto publishing = repository.try_lock_publishing();
  if (!publishing)
    return fail(ErrorCode::busy, "another version is being published; try again when it is done");
  ICBD_ASSIGN(const Intent intent, find_intent(repository, request, &progress.cancelled));

  Draft draft(repository, request.image, intent.number);
  ICBD_TRY(repository.prepare_image(request.image));
  ICBD_ASSIGN(const Composition composition, compose(repository, request, intent.source,
                                                     intent.marks, intent.parent, draft, progress));
  ICBD_TRY(draft.seal());
  ICBD_ASSIGN(auto built, build(repository, request, intent, draft, progress));
  ICBD_ASSIGN(const auto info, btrfs::subvolume_info(draft.root_fd()));
  auto facts = facts_of(request, intent.number, built, info);
  facts.boot_directory = composition.boot_directory;
  facts.target_file = composition.target_file;
  if (intent.parent) facts.parent = intent.parent->facts.number;

  ICBD_ASSIGN(auto version, commit(repository, draft, facts));
  PublishReport report = report_of(std::move(built), std::move(version));
  report.kind = intent.source.name();
  report.notes = composition.notes;
  report.warnings.insert(report.warnings.begin(), composition.warnings.begin(),
                         composition.warnings.end());
  give_tags(repository, request, report);
  repository.logger()->info("published {}@{}: {} entries, {} bytes read, {} taken over",
                            facts.image, intent.number.value(), facts.entries, report.bytes_hashed,
                            report.bytes_inherited);
  return report;
}

Result<PublishPlan> plan_publication(Repository& repository, const PublishRequest& request) {
  ICBD_TRY(check_words(request));
  ICBD_ASSIGN(const Intent intent, find_intent(repository, request, nullptr));
  const PublishSource& source = intent.source;
  PublishPlan plan;
  plan.kind = source.name();
  plan.number = intent.number;
  if (intent.parent) plan.parent = intent.parent->facts.number;
  if (source.image) plan.disk_bytes = source.image->size;
  ICBD_ASSIGN(plan.boot_directory, expected(intent.marks.boot, source, check_boot, plan.notes));
  ICBD_ASSIGN(plan.target_file, expected(intent.marks.target, source, check_target, plan.notes));
  ICBD_ASSIGN(Estimate estimated,
              estimate(repository, request, source, intent.marks, intent.parent));
  plan.bytes_to_read = estimated.bytes_to_read;
  plan.warnings = std::move(estimated.warnings);
  return plan;
}

}  // namespace icbd::repository
