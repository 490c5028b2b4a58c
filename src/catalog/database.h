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
  Observer observer;

  // Ends a transaction whose effects others can see.
  Status commit_change(Transaction& transaction);
};

// In a transaction of what others can see that does not end yet.
Status count_change(Connection& connection);
// not_found
Result<Version> require_version(Connection& connection, VersionSerial serial);

}  // namespace icbd::catalog
