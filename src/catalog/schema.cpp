#include "schema.h"

#include <fmt/format.h>

#include <array>

#include "icbd/base/uuid.h"

namespace icbd::catalog {
namespace {

// "icbd" in the header of the database file, where file(1) and SQLite look for it.
constexpr std::int64_t application_id = 0x69636264;

// Step n brings schema n to schema n + 1. Steps that were released are never edited.
constexpr std::array<std::string_view, 1> migrations = {R"sql(
  CREATE TABLE node (
    only_row      INTEGER PRIMARY KEY CHECK (only_row = 1),
    uuid          BLOB    NOT NULL CHECK (length(uuid) = 16),
    change_number INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE images (
    id             INTEGER PRIMARY KEY,
    name           TEXT    NOT NULL UNIQUE,
    -- Kept here and not asked of the versions, so that it outlives them.
    highest_number INTEGER NOT NULL DEFAULT 0
  ) STRICT;

  CREATE TABLE versions (
    -- AUTOINCREMENT: a serial is never used twice, even if its row is deleted.
    serial                INTEGER PRIMARY KEY AUTOINCREMENT,
    image_id              INTEGER NOT NULL REFERENCES images (id),
    number                INTEGER NOT NULL CHECK (number BETWEEN 1 AND 4294967295),
    uuid                  BLOB    NOT NULL UNIQUE CHECK (length(uuid) = 16),
    manifest              BLOB    NOT NULL CHECK (length(manifest) = 32),
    -- The number of a version of the same image that need not be known here.
    parent                INTEGER,
    message               TEXT    NOT NULL,
    published_seconds     INTEGER NOT NULL,
    published_nanoseconds INTEGER NOT NULL,
    root_mode             INTEGER NOT NULL,
    root_uid              INTEGER NOT NULL,
    root_gid              INTEGER NOT NULL,
    root_seconds          INTEGER NOT NULL,
    root_nanoseconds      INTEGER NOT NULL,
    entries               INTEGER NOT NULL,
    file_bytes            INTEGER NOT NULL,
    data_bytes            INTEGER NOT NULL,
    send_transaction      INTEGER NOT NULL,
    state                 TEXT    NOT NULL CHECK (state IN ('remote', 'arriving', 'complete')),
    shaped                INTEGER NOT NULL DEFAULT 0 CHECK (shaped IN (0, 1)),
    shape_parent          INTEGER REFERENCES versions (serial),
    UNIQUE (image_id, number),
    CHECK (state = 'arriving' OR (shaped = 0 AND shape_parent IS NULL))
  ) STRICT;
)sql"};

Result<std::int64_t> read_number(Connection& connection, std::string_view sql) {
  ICBD_ASSIGN(Query query, connection.query(sql));
  ICBD_TRY(query.step());
  return query.number<std::int64_t>(0);
}

Status check_owner(Connection& connection) {
  ICBD_ASSIGN(const auto owner, read_number(connection, "PRAGMA application_id"));
  ICBD_ASSIGN(const auto tables, read_number(connection, "SELECT count(*) FROM sqlite_schema"));
  if (owner == application_id || (owner == 0 && tables == 0)) return {};
  return connection.refuse(ErrorCode::invalid_argument,
                           "an SQLite database of another application; it was left as it is");
}

Result<std::size_t> check_version(Connection& connection) {
  ICBD_ASSIGN(const auto version, read_number(connection, "PRAGMA user_version"));
  if (version < 0 || version > static_cast<std::int64_t>(migrations.size()))
    return connection.refuse(
        ErrorCode::unsupported,
        fmt::format("schema {} is newer than this release of icbd knows (it knows up to {}): "
                    "upgrade icbd, or restore the catalog that belongs to this release",
                    version, migrations.size()));
  return static_cast<std::size_t>(version);
}

Status check_integrity(Connection& connection) {
  ICBD_ASSIGN(Query query, connection.query("PRAGMA quick_check(1)"));
  ICBD_TRY(query.step());
  if (const std::string verdict = query.text(0); verdict != "ok")
    return connection.refuse(ErrorCode::corrupt, "the database is damaged: " + verdict);
  return {};
}

Status use_write_ahead_log(Connection& connection) {
  ICBD_ASSIGN(Query query, connection.query("PRAGMA journal_mode = WAL"));
  ICBD_TRY(query.step());
  if (query.text(0) != "wal")
    return connection.refuse(ErrorCode::unsupported, "its filesystem cannot hold a shared WAL");
  return {};
}

Status migrate(Connection& connection) {
  ICBD_ASSIGN(Transaction transaction, Transaction::begin(connection));
  ICBD_ASSIGN(const std::size_t version, check_version(connection));
  for (std::size_t step = version; step < migrations.size(); ++step)
    ICBD_TRY(connection.execute(std::string(migrations[step])));
  if (version != migrations.size())
    ICBD_TRY(connection.execute(fmt::format("PRAGMA application_id = {}; PRAGMA user_version = {}",
                                            application_id, migrations.size())));
  if (version == 0) {
    const Uuid uuid = Uuid::random();
    ICBD_ASSIGN(
        Query insert,
        connection.query("INSERT INTO node (only_row, uuid, change_number) VALUES (1, ?, 1)"));
    ICBD_TRY(insert.bind(ByteView(uuid.bytes)).run());
  }
  return transaction.commit();
}

}  // namespace

Status prepare_schema(Connection& connection) {
  ICBD_TRY(check_owner(connection));
  ICBD_TRY(check_version(connection));
  ICBD_TRY(check_integrity(connection));
  ICBD_TRY(use_write_ahead_log(connection));
  ICBD_TRY(connection.execute(
      "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF"));
  return migrate(connection);
}

}  // namespace icbd::catalog
