// What the calls of Catalog share; private to this folder.
#pragma once

#include <memory>
#include <mutex>

#include "icbd/catalog/catalog.h"

#include "sqlite.h"
#include "versions.h"

namespace icbd::catalog {

struct Catalog::Database {
  std::mutex mutex;
  std::unique_ptr<Connection> connection;
  NodeIdentity identity;
};

// In the transaction of what others can see.
Status count_change(Connection& connection);
// not_found
Result<Version> require_version(Connection& connection, VersionSerial serial);

}  // namespace icbd::catalog
