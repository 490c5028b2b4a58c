// The catalog's tables, and the way from an older release's to this one's.
#pragma once

#include "sqlite.h"

namespace icbd::catalog {

// Makes the tables in a new database and brings those of an older release up to date. Refuses a
// database of another application, of a newer release, and one that SQLite calls damaged; those
// are not touched.
Status prepare_schema(Connection& connection);

}  // namespace icbd::catalog
