// The rows of the table `versions`, read and written.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "icbd/catalog/catalog.h"

#include "sqlite.h"

namespace icbd::catalog {

// "win11@3"
std::string describe(const VersionFacts& facts);

// invalid_argument, with the reason, if no version can be like that.
Status check_facts(const VersionFacts& facts);

Result<std::vector<Version>> select_versions(Connection& connection);
Result<std::vector<Version>> select_versions(Connection& connection, const std::string& image);
Result<std::optional<Version>> find_by_serial(Connection& connection, VersionSerial serial);
Result<std::optional<Version>> find_by_number(Connection& connection, const std::string& image,
                                              VersionNumber number);
Result<std::optional<Version>> find_by_uuid(Connection& connection, const Uuid& uuid);

// The image must be there. too_large when all serials are used.
Result<VersionSerial> insert_version(Connection& connection, const VersionFacts& facts,
                                     VersionState state, const std::optional<AdoptedPlace>& place);
Status raise_highest_number(Connection& connection, const std::string& image, VersionNumber number);
// Forgets the shape: it belongs to one arrival.
Status update_state(Connection& connection, VersionSerial serial, VersionState state);
Status update_shaped(Connection& connection, VersionSerial serial,
                     std::optional<VersionSerial> parent);

}  // namespace icbd::catalog
