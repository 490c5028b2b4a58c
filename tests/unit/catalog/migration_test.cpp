// Catalogs of older releases are brought up to date, whole or not at all.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "icbd/base/file.h"

#include "unit/catalog/database.h"

namespace icbd::catalog {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Statements that an opening of schema 1 still runs before it is killed.
int statements_left = 0;

int kill_before_statement(unsigned, void*, void*, void*) {
  if (statements_left-- == 0) raise(SIGKILL);
  return 0;
}

// SQLite calls it for every connection that is opened once it is registered.
int watch_statements(sqlite3* database, const char**, const sqlite3_api_routines*) {
  return sqlite3_trace_v2(database, SQLITE_TRACE_STMT, kill_before_statement, nullptr);
}

class MigrationTest : public CatalogFileTest {
 protected:
  void SetUp() override { load_golden(); }

  void load_golden() {
    const auto script = read_file(ICBD_GOLDEN_CATALOGS "/schema-1.sql", 1 << 20);
    ASSERT_TRUE(script) << script.error().message();
    sql("PRAGMA synchronous = OFF;" + std::string(as_text(*script)));
  }
  void remove_files() {
    for (const char* suffix : {"", "-wal", "-shm", ".schema-1", ".schema-1.unfinished"})
      std::filesystem::remove(file_.string() + suffix);
  }
  std::filesystem::path backup() const { return file_.string() + ".schema-1"; }

  // Opens the catalog in a process of its own that is killed before its n-th statement. True if it
  // had no so many statements and came to its end.
  bool open_and_be_killed(int statement) {
    const pid_t child = fork();
    if (child == 0) {
      statements_left = statement;
      sqlite3_auto_extension(reinterpret_cast<void (*)()>(&watch_statements));
      const auto catalog = Catalog::open(file_);
      _exit(catalog ? 0 : 1);
    }
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status)) return false;
    EXPECT_EQ(WEXITSTATUS(status), 0) << "killed before statement " << statement;
    return true;
  }
};

void expect_everything_kept(const Catalog& catalog) {
  EXPECT_EQ(catalog.identity().uuid.to_string(), "0f0e0d0c-0b0a-0908-0706-050403020100");
  EXPECT_EQ(catalog.change_number().value(), 17u);
  EXPECT_THAT(catalog.images().value(), ElementsAre("debian", "empty", "win11"));
  EXPECT_EQ(catalog.next_number("win11").value(), VersionNumber(10));
  EXPECT_EQ(catalog.versions().value().size(), 3u);

  const Version complete = catalog.version(VersionSerial(3)).value();
  EXPECT_EQ(complete.state, VersionState::complete);
  const VersionFacts& facts = complete.facts;
  EXPECT_EQ(facts.image, "win11");
  EXPECT_EQ(facts.number, VersionNumber(7));
  EXPECT_EQ(facts.uuid.to_string(), "11111111-1111-1111-1111-111111111111");
  EXPECT_EQ(facts.manifest.to_string(), std::string(64, 'a'));
  EXPECT_EQ(facts.parent, std::nullopt);
  EXPECT_EQ(facts.message, "It's \"first\"");
  EXPECT_EQ(facts.published, (Timestamp{1'790'000'000, 999'999'999}));
  EXPECT_EQ(facts.root, (RootAttributes{01777, 1000, 4'000'000'000, {-5, 7}}));
  EXPECT_EQ(facts.entries, 123'456u);
  EXPECT_EQ(facts.file_bytes, UINT64_MAX);
  EXPECT_EQ(facts.data_bytes, UINT64_MAX - 1);
  EXPECT_EQ(facts.send_transaction, 42u);

  const Version arriving = catalog.version(VersionSerial(5)).value();
  EXPECT_EQ(arriving.state, VersionState::arriving);
  EXPECT_TRUE(arriving.shaped);
  EXPECT_EQ(arriving.shape_parent, VersionSerial(3));
  EXPECT_EQ(arriving.facts.parent, VersionNumber(7));
  EXPECT_EQ(catalog.version("debian", VersionNumber(1))->state, VersionState::remote);
}

TEST_F(MigrationTest, KeepsEverythingOfSchema1) {
  const auto catalog = open();
  ASSERT_TRUE(catalog);
  expect_everything_kept(*catalog);
  EXPECT_FALSE(catalog->identity().epoch.is_null());
  EXPECT_EQ(catalog->followed_source().value(), std::nullopt);
  VersionFacts facts = catalog->version(VersionSerial(6))->facts;
  facts.number = VersionNumber(2);
  facts.uuid = Uuid::random();
  EXPECT_EQ(catalog->add_version(facts, VersionState::remote).value(), VersionSerial(9));
}

TEST_F(MigrationTest, HappensOnce) {
  const Uuid epoch = open()->identity().epoch;
  std::filesystem::remove(backup());
  EXPECT_EQ(open()->identity().epoch, epoch);
  EXPECT_FALSE(std::filesystem::exists(backup()));
}

TEST_F(MigrationTest, EndsInTheSameTablesAsANewCatalog) {
  const std::string tables =
      "SELECT group_concat(m.name || '.' || c.name || ' ' || c.type || c.\"notnull\" || c.pk)"
      " FROM sqlite_schema m, pragma_table_info(m.name) c WHERE m.type = 'table'"
      " ORDER BY m.name, c.cid";
  open();
  const std::string migrated = sql(tables);
  remove_files();
  open();
  EXPECT_EQ(migrated, sql(tables));
  EXPECT_THAT(migrated, HasSubstr("followed_source.epoch"));
}

TEST_F(MigrationTest, PutsACopyBesideThatTheOldReleaseCanOpen) {
  ASSERT_TRUE(replace_file(backup(), as_bytes("of an earlier time")));
  open();
  struct stat status{};
  ASSERT_EQ(stat(backup().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
  EXPECT_FALSE(std::filesystem::exists(backup().string() + ".unfinished"));
  file_ = backup();
  EXPECT_EQ(sql("PRAGMA user_version"), "1");
  EXPECT_EQ(sql("PRAGMA application_id"), std::to_string(0x69636264));
  EXPECT_EQ(sql("PRAGMA integrity_check"), "ok");
  EXPECT_EQ(sql("SELECT seq FROM sqlite_sequence"), "8");
  expect_everything_kept(*open());  // and it migrates like the original
}

TEST_F(MigrationTest, IsRefusedIfNoCopyCanBeMade) {
  std::filesystem::create_directories(backup() / "in the way");
  const auto catalog = Catalog::open(file_);
  ASSERT_FALSE(catalog);
  EXPECT_THAT(catalog.error().message(), HasSubstr("no copy of it could be made"));
  EXPECT_EQ(sql("PRAGMA user_version"), "1");
}

TEST_F(MigrationTest, KilledAtAnyStatementItIsAsBeforeOrDone) {
  const std::filesystem::path golden = file_.string() + ".golden";
  std::filesystem::copy_file(file_, golden);
  int as_before = 0;
  bool ended = false;
  for (int statement = 0; !ended; ++statement) {
    SCOPED_TRACE("killed before statement " + std::to_string(statement));
    remove_files();
    std::filesystem::copy_file(golden, file_);
    ended = open_and_be_killed(statement);
    EXPECT_EQ(sql("PRAGMA integrity_check"), "ok");
    const bool done = sql("PRAGMA user_version") == "6";
    EXPECT_EQ(sql("SELECT count(*) FROM pragma_table_info('node')"), done ? "4" : "3");
    EXPECT_EQ(sql("SELECT count(*) FROM sqlite_schema "
                  "WHERE name IN ('followed_source', 'adoptions')"),
              done ? "2" : "0");
    if (done) {
      EXPECT_EQ(sql("SELECT epoch = zeroblob(16) FROM node"), "0");
      EXPECT_GT(as_before, 10);
    } else {
      EXPECT_FALSE(ended);
      ++as_before;
    }
    const auto catalog = open();
    ASSERT_TRUE(catalog);
    expect_everything_kept(*catalog);
    ASSERT_LT(statement, 1000);
  }
}

}  // namespace
}  // namespace icbd::catalog
