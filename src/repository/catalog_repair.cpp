#include "catalog_repair.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>

#include "icbd/base/clock.h"
#include "icbd/base/file.h"

#include "facts_file.h"
#include "remove.h"
#include "take_back.h"

namespace icbd::repository {
namespace {

// SQLite's write-ahead log and its index: a new database must never find an old one's.
constexpr std::array<const char*, 3> file_suffixes = {"", "-wal", "-shm"};

std::filesystem::path with_suffix(const std::filesystem::path& file, std::string_view suffix) {
  return file.string() + std::string(suffix);
}

bool has_content(const std::filesystem::path& file) {
  std::error_code error;
  const auto size = std::filesystem::file_size(file, error);
  return !error && size > 0;
}

// "20261120T134500Z"
std::string compact_time() {
  std::string text = format_utc(SystemClock().wall());
  std::erase_if(text, [](char c) { return c == '-' || c == ':'; });
  return text;
}

// Returns where the database itself went; empty if there was none.
Result<std::filesystem::path> move_aside(const std::filesystem::path& file) {
  const std::filesystem::path aside = fmt::format("{}.damaged-{}", file.string(), compact_time());
  std::filesystem::path moved;
  // The database last: as long as it is there, its log is not taken for another's.
  for (const char* suffix : {"-shm", "-wal", ""}) {
    const auto from = with_suffix(file, suffix);
    std::error_code ignored;
    if (!std::filesystem::exists(from, ignored)) continue;
    moved = with_suffix(aside, suffix);
    ICBD_TRY(rename_new(from, moved));
  }
  return moved;
}

Result<Uuid> repository_uuid(const Layout& layout, Finding& reason) {
  if (const auto known = read_repository_uuid(layout.repository_uuid())) return *known;
  reason.what += "; the repository's UUID is lost too, it has a new one";
  return Uuid::random();
}

}  // namespace

Result<CatalogCopy> CatalogCopy::make(const Layout& layout) {
  std::error_code error;
  std::string folder = (std::filesystem::temp_directory_path(error) / "icbd-fsck-XXXXXX").string();
  if (!mkdtemp(folder.data())) return fail_errno("make a temporary directory");
  CatalogCopy copy(folder);
  for (const char* suffix : {"", "-wal"}) {
    const auto from = with_suffix(layout.catalog(), suffix);
    if (!std::filesystem::exists(from, error)) continue;
    std::filesystem::copy_file(from, with_suffix(copy.file(), suffix), error);
    if (error)
      return fail_errno(fmt::format("copy {} to {}", from.string(), folder), error.value());
  }
  return copy;
}

CatalogCopy::~CatalogCopy() {
  std::error_code ignored;
  if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
}

Result<std::optional<Finding>> check_catalog(const Layout& layout, const CatalogCopy& copy) {
  Finding finding{.kind = FindingKind::catalog_missing, .path = layout.catalog()};
  if (!has_content(copy.file())) {
    finding.what = fmt::format("the catalog {} is missing", layout.catalog().string());
    return finding;
  }
  ICBD_ASSIGN(const auto problems, catalog::Catalog::problems(copy.file()));
  if (problems.empty()) return std::nullopt;
  finding.kind = FindingKind::catalog_damaged;
  finding.what = fmt::format(
      "the catalog {} is damaged ({}{})", layout.catalog().string(), problems.front(),
      problems.size() == 1 ? "" : fmt::format(", and {} more problems", problems.size() - 1));
  return finding;
}

Result<std::vector<Finding>> rebuild_catalog(const Layout& layout, Finding reason) {
  std::vector<Finding> findings = rename_verified_versions(layout);
  ICBD_ASSIGN(const Uuid uuid, repository_uuid(layout, reason));
  const auto unfinished = with_suffix(layout.catalog(), ".rebuilt");
  for (const char* suffix : file_suffixes) ICBD_TRY(remove_file(with_suffix(unfinished, suffix)));
  std::size_t taken = 0;
  {
    ICBD_ASSIGN(const auto catalog, catalog::Catalog::create(unfinished, uuid));
    ICBD_ASSIGN(auto versions, take_back_versions(layout, *catalog, true));
    taken = static_cast<std::size_t>(std::ranges::count(versions, true, &Finding::settled));
    std::ranges::move(versions, std::back_inserter(findings));
  }  // closing it brings its log into the one file
  ICBD_ASSIGN(const auto aside, move_aside(layout.catalog()));
  ICBD_TRY(rename_new(unfinished, layout.catalog()));
  ICBD_TRY(sync_directory(layout.own()));
  reason.action = fmt::format(
      "rebuilt with {} versions, new serials and a new epoch{}; what only the catalog knew is "
      "lost: "
      "versions that were not here, and the highest numbers of versions that are gone",
      taken, aside.empty() ? "" : fmt::format("; the old file is {}", aside.string()));
  reason.settled = true;
  findings.insert(findings.begin(), std::move(reason));
  return findings;
}

}  // namespace icbd::repository
