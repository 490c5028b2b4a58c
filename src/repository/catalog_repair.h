// Looks at a catalog's file, and makes a new one in the place of one that is lost.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "icbd/base/error.h"
#include "icbd/catalog/catalog.h"
#include "icbd/repository/finding.h"

#include "layout.h"

namespace icbd::repository {

// A copy of the catalog in a folder of its own, for looking at it without changing anything.
class CatalogCopy {
 public:
  static Result<CatalogCopy> make(const Layout& layout);
  CatalogCopy(CatalogCopy&& other) noexcept : folder_(std::exchange(other.folder_, {})) {}
  CatalogCopy& operator=(CatalogCopy&&) = delete;
  ~CatalogCopy();

  std::filesystem::path file() const { return folder_ / "catalog.sqlite3"; }

 private:
  explicit CatalogCopy(std::filesystem::path folder) : folder_(std::move(folder)) {}
  std::filesystem::path folder_;
};

// None if the catalog is whole.
Result<std::optional<Finding>> check_catalog(const Layout& layout, const CatalogCopy& copy);

// Puts a new catalog in place, with the versions that can be taken back, and renames what is there
// of the old one. A kill in between leaves no catalog, or the new one.
Result<std::vector<Finding>> rebuild_catalog(const Layout& layout, Finding reason);

}  // namespace icbd::repository
