// What the catalog knows of a complete version, as a small file beside its manifest: what a lost
// catalog is rebuilt from.
//
// JSON, so that a person can read it when things have gone that far. Written before the catalog
// says "complete", so that every complete version has one. Nothing is believed of it that
// subvolume and manifest do not confirm.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "icbd/base/error.h"
#include "icbd/catalog/catalog.h"

namespace icbd::repository {

struct KeptFacts {
  catalog::VersionFacts facts;
  std::optional<catalog::AdoptedPlace> place = {};
  bool operator==(const KeptFacts&) const = default;
};

std::string encode_facts(const KeptFacts& kept);
// corrupt if it is not what encode_facts() writes.
Result<KeptFacts> decode_facts(std::string_view text);

// Durable when it returns. Does nothing if the file says the same already.
Status write_facts(const std::filesystem::path& file, const KeptFacts& facts);
Result<KeptFacts> read_facts(const std::filesystem::path& file);

// The repository's own UUID, which outlives its catalog in the same way.
Status write_repository_uuid(const std::filesystem::path& file, const Uuid& uuid);
Result<Uuid> read_repository_uuid(const std::filesystem::path& file);

}  // namespace icbd::repository
