#include "icbd/repository/incoming.h"

#include <fmt/format.h>

#include <algorithm>

#include "icbd/btrfs/subvolume.h"
#include "icbd/catalog/names.h"

#include "facts_file.h"
#include "manifest_build.h"
#include "previous_version.h"
#include "publish_draft.h"
#include "remove.h"

namespace icbd::repository {

using catalog::Version;
using catalog::VersionState;

namespace {

std::string name_of(const catalog::VersionFacts& facts) {
  return fmt::format("{}@{}", facts.image, facts.number.value());
}

// The version that it was before, if it was one.
Result<std::optional<Version>> find_known(Repository& repository,
                                          const IncomingSnapshot& snapshot) {
  ICBD_ASSIGN(const auto versions, repository.catalog().versions());
  const auto found = std::ranges::find_if(
      versions, [&](const Version& version) { return version.facts.uuid == snapshot.uuid; });
  if (found == versions.end()) return std::nullopt;
  if (found->facts.image == snapshot.image && found->state == VersionState::remote) return *found;
  return fail(
      ErrorCode::already_exists,
      fmt::format("it has the identity (UUID {}) of {}, which is {}: two versions never "
                  "have one identity",
                  snapshot.uuid.to_string(), name_of(found->facts), to_string(found->state)));
}

}  // namespace

struct Incoming::State {
  State(Repository& in, IncomingSnapshot of, std::optional<Version> before, VersionNumber as)
      : repository(in),
        snapshot(std::move(of)),
        known(std::move(before)),
        number(as),
        draft(in, snapshot.image, as) {}

  Status check_received() const;
  Result<catalog::VersionFacts> facts_of(const BuiltManifest& built,
                                         const std::optional<Version>& parent) const;
  Result<VersionSerial> make_complete(const catalog::VersionFacts& facts) const;

  Repository& repository;
  IncomingSnapshot snapshot;
  std::optional<Version> known;
  VersionNumber number;
  Draft draft;
};

Status Incoming::State::check_received() const {
  ICBD_ASSIGN(const auto info, btrfs::subvolume_info(draft.root_fd()));
  if (info.read_only && info.received_uuid == snapshot.uuid) return {};
  return fail(ErrorCode::corrupt,
              fmt::format("what was received is not the snapshot that was asked for (UUID {})",
                          snapshot.uuid.to_string()));
}

Result<catalog::VersionFacts> Incoming::State::facts_of(
    const BuiltManifest& built, const std::optional<Version>& parent) const {
  if (known) {
    if (known->facts.manifest == built.digest) return known->facts;
    return fail(ErrorCode::corrupt,
                fmt::format("it has other content than {} had (manifest {}, before {})",
                            name_of(known->facts), built.digest.to_string(),
                            known->facts.manifest.to_string()));
  }
  ICBD_ASSIGN(const auto info, btrfs::subvolume_info(draft.root_fd()));
  catalog::VersionFacts facts = facts_from(built, info);
  facts.image = snapshot.image;
  facts.number = number;
  facts.message = snapshot.message;
  facts.published = snapshot.published;
  if (parent) facts.parent = parent->facts.number;
  return facts;
}

Result<VersionSerial> Incoming::State::make_complete(const catalog::VersionFacts& facts) const {
  catalog::Catalog& catalog = repository.catalog();
  if (!known) return catalog.add_version(facts, VersionState::complete);
  ICBD_TRY(catalog.set_state(known->serial, VersionState::complete));
  return known->serial;
}

Result<Incoming> Incoming::begin(Repository& repository, const IncomingSnapshot& snapshot) {
  ICBD_TRY(catalog::check_image_name(snapshot.image));
  ICBD_ASSIGN(auto known, find_known(repository, snapshot));
  ICBD_ASSIGN(const VersionNumber next, repository.catalog().next_number(snapshot.image));
  const VersionNumber number = known ? known->facts.number : next;
  ICBD_TRY(repository.prepare_image(snapshot.image));
  auto state = std::make_unique<State>(repository, snapshot, std::move(known), number);
  ICBD_TRY(remove_subvolume(state->draft.path()));  // what could not be removed at once
  return Incoming(std::move(state));
}

Incoming::Incoming(std::unique_ptr<State> state) : state_(std::move(state)) {}
Incoming::Incoming(Incoming&&) noexcept = default;
Incoming& Incoming::operator=(Incoming&&) noexcept = default;
Incoming::~Incoming() = default;

VersionNumber Incoming::number() const {
  return state_->number;
}
std::filesystem::path Incoming::directory() const {
  return state_->draft.path().parent_path();
}
std::string Incoming::name() const {
  return state_->draft.path().filename();
}

Result<PublishReport> Incoming::commit(PublishProgress& progress) {
  State& state = *state_;
  Repository& repository = state.repository;
  const auto publishing = repository.lock_publishing();
  ICBD_TRY(state.draft.take());
  ICBD_TRY(state.check_received());
  progress.phase = PublishPhase::hashing;
  ICBD_ASSIGN(const auto parent, newest_complete(repository, state.snapshot.image));
  ICBD_ASSIGN(const auto pages, repository.pages(state.snapshot.image, state.number, true));
  ICBD_ASSIGN(auto built,
              build_next_manifest(repository, state.draft.root_fd(), parent, *pages, progress));
  ICBD_TRY(pages->sync());
  ICBD_ASSIGN(const auto facts, state.facts_of(built, parent));
  ICBD_TRY(btrfs::sync_filesystem(state.draft.root_fd()));
  ICBD_TRY(write_facts(state.draft.facts(), {.facts = facts}));
  ICBD_ASSIGN(const VersionSerial serial, state.make_complete(facts));
  state.draft.keep();
  ICBD_TRY(state.draft.rename_into_place());
  ICBD_ASSIGN(auto version, repository.catalog().version(serial));
  return report_of(std::move(built), std::move(version));
}

}  // namespace icbd::repository
