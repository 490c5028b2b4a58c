#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "icbd/base/file.h"

#include "unit/catalog/database.h"

namespace icbd::catalog {
namespace {

using ::testing::HasSubstr;

class SchemaTest : public CatalogFileTest {
 protected:
  Error refused() {
    const auto catalog = Catalog::open(file_);
    EXPECT_FALSE(catalog);
    const Error error = catalog ? Error(ErrorCode::internal, "opened") : catalog.error();
    EXPECT_THAT(error.message(), HasSubstr(file_.string()));
    return error;
  }
};

TEST_F(SchemaTest, MakesADurableDatabaseForItsOwnerOnly) {
  open();
  EXPECT_EQ(sql("PRAGMA journal_mode"), "wal");
  EXPECT_EQ(sql("PRAGMA application_id"), std::to_string(0x69636264));
  EXPECT_EQ(sql("PRAGMA user_version"), "6");
  struct stat status{};
  ASSERT_EQ(stat(file_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
}

TEST_F(SchemaTest, TakesAnEmptyFileForNew) {
  ASSERT_TRUE(replace_file(file_, {}));
  EXPECT_TRUE(open());
}

TEST_F(SchemaTest, RefusesANewerSchemaWithWords) {
  open();
  sql("PRAGMA user_version = 99; PRAGMA journal_mode = DELETE");  // all of it in the one file
  const Bytes before = read_file(file_, 1 << 20).value();
  const Error error = refused();
  EXPECT_EQ(error.code(), ErrorCode::unsupported);
  EXPECT_THAT(error.message(), HasSubstr("schema 99 is newer"));
  EXPECT_THAT(error.message(), HasSubstr("upgrade icbd"));
  EXPECT_EQ(read_file(file_, 1 << 20).value(), before);
  for (const char* suffix : {"-wal", "-shm", ".schema-99"})
    EXPECT_FALSE(std::filesystem::exists(file_.string() + suffix)) << suffix;
}

TEST_F(SchemaTest, RefusesADatabaseOfAnotherApplication) {
  sql("CREATE TABLE recipes (name TEXT); PRAGMA application_id = 77");
  EXPECT_EQ(refused().code(), ErrorCode::invalid_argument);
  EXPECT_EQ(sql("SELECT count(*) FROM sqlite_schema"), "1");
  EXPECT_EQ(sql("PRAGMA journal_mode"), "delete");
}

TEST_F(SchemaTest, RefusesADatabaseThatNobodySigned) {
  sql("CREATE TABLE recipes (name TEXT)");
  EXPECT_EQ(refused().code(), ErrorCode::invalid_argument);
}

TEST_F(SchemaTest, RefusesAFileThatIsNoDatabase) {
  for (const std::size_t length : {10u, 1000u, 100'000u}) {
    ASSERT_TRUE(replace_file(file_, Bytes(length, std::byte{'x'})));
    EXPECT_EQ(refused().code(), ErrorCode::corrupt) << length;
  }
}

TEST_F(SchemaTest, RefusesADamagedDatabase) {
  open();
  sql("PRAGMA journal_mode = DELETE");  // all of it in the one file
  Bytes content = read_file(file_, 1 << 20).value();
  ASSERT_GT(content.size(), 8192u);
  std::fill(content.begin() + 4096, content.begin() + 8192, std::byte{0xa5});
  ASSERT_TRUE(replace_file(file_, content));
  EXPECT_EQ(refused().code(), ErrorCode::corrupt);
}

TEST_F(SchemaTest, RefusesACatalogWithoutIdentity) {
  open();
  sql("DELETE FROM node");
  EXPECT_EQ(refused().code(), ErrorCode::corrupt);
}

TEST_F(SchemaTest, SaysThatTheFolderIsMissing) {
  file_ = directory_.path() / "nowhere" / "catalog.sqlite3";
  EXPECT_EQ(refused().code(), ErrorCode::not_found);
}

}  // namespace
}  // namespace icbd::catalog
