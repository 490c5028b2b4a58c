// Catalogs in a folder of the test's own, and SQL past the catalog for what a test must fake.
#pragma once

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <memory>
#include <string>

#include "icbd/catalog/catalog.h"

#include "harness/temporary_directory.h"

namespace icbd::catalog {

class CatalogFileTest : public ::testing::Test {
 protected:
  std::unique_ptr<Catalog> open() {
    auto catalog = Catalog::open(file_);
    EXPECT_TRUE(catalog) << catalog.error().message();
    return catalog ? std::move(*catalog) : nullptr;
  }

  // Runs statements; returns the last value of the last row.
  std::string sql(const std::string& script) {
    sqlite3* database = nullptr;
    EXPECT_EQ(sqlite3_open(file_.c_str(), &database), SQLITE_OK);
    std::string value;
    const auto keep_value = [](void* out, int columns, char** values, char**) {
      if (values[columns - 1]) *static_cast<std::string*>(out) = values[columns - 1];
      return 0;
    };
    EXPECT_EQ(sqlite3_exec(database, script.c_str(), keep_value, &value, nullptr), SQLITE_OK)
        << sqlite3_errmsg(database);
    sqlite3_close(database);
    return value;
  }

  harness::TemporaryDirectory directory_ = harness::TemporaryDirectory::create().value();
  std::filesystem::path file_ = directory_.path() / "catalog.sqlite3";
};

}  // namespace icbd::catalog
