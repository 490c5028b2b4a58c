// What is wrong inside of a catalog's file, in words.
#pragma once

#include <string>
#include <vector>

#include "sqlite.h"

namespace icbd::catalog {

// What SQLite finds: damaged pages, broken references. A file that is no database has problems
// too; it is not an error.
Result<std::vector<std::string>> file_problems(Connection& connection);
// What this folder keeps true and finds untrue; for a file of this release's schema.
Result<std::vector<std::string>> content_problems(Connection& connection);

}  // namespace icbd::catalog
