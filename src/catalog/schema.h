// The catalog's tables, and the way from an older release's to this one's.
#pragma once

#include <filesystem>

#include "sqlite.h"

namespace icbd::catalog {

// Makes the tables in a new database and brings those of an older release up to date, all steps in
// one transaction, after a copy of it was put beside `file` as FILE.schema-N (N: the old schema).
// Refuses a database of another application, of a newer release, and one that SQLite calls
// damaged; those are not touched.
Status prepare_schema(Connection& connection, const std::filesystem::path& file);

}  // namespace icbd::catalog
