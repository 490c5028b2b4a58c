#include "schema.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cstdio>

#include "icbd/base/file.h"
#include "icbd/base/uuid.h"

namespace icbd::catalog {
namespace {

// "icbd" in the header of the database file, where file(1) and SQLite look for it.
constexpr std::int64_t application_id = 0x69636264;

// Step n brings schema n to schema n + 1. Steps that were released are never edited.
constexpr std::array<std::string_view, 6> migrations = {R"sql(
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
)sql",
                                                        R"sql(
  -- All zero until migrate() has given it a value: SQL has no random UUIDs.
  ALTER TABLE node ADD COLUMN epoch BLOB NOT NULL
    DEFAULT x'00000000000000000000000000000000' CHECK (length(epoch) = 16);

  -- What this node, as a cache, has last heard of the master that it follows.
  CREATE TABLE followed_source (
    only_row      INTEGER PRIMARY KEY CHECK (only_row = 1),
    repository    BLOB    NOT NULL CHECK (length(repository) = 16),
    epoch         BLOB    NOT NULL CHECK (length(epoch) = 16),
    change_number INTEGER NOT NULL
  ) STRICT;
)sql",
                                                        R"sql(
  -- Where the snapshot of an adopted version is, outside of the repository; else null.
  ALTER TABLE versions ADD COLUMN place TEXT;
  ALTER TABLE versions ADD COLUMN place_subvolume INTEGER
    CHECK ((place IS NULL) = (place_subvolume IS NULL));

  -- Snapshots that are still to be adopted, in this order.
  CREATE TABLE adoptions (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    -- The id of the first one that was asked for together with this one.
    job       INTEGER NOT NULL,
    image     TEXT    NOT NULL,
    path      TEXT    NOT NULL,
    subvolume INTEGER NOT NULL,
    uuid      BLOB    NOT NULL CHECK (length(uuid) = 16)
  ) STRICT;
)sql",
                                                        R"sql(
  -- Paths within the version; empty for none.
  ALTER TABLE versions ADD COLUMN boot_directory TEXT NOT NULL DEFAULT '';
  ALTER TABLE versions ADD COLUMN target_file TEXT NOT NULL DEFAULT '';
  ALTER TABLE versions ADD COLUMN pulled INTEGER NOT NULL DEFAULT 0 CHECK (pulled IN (0, 1));
  -- Null: not pinned.
  ALTER TABLE versions ADD COLUMN pin_reason TEXT;
  ALTER TABLE versions ADD COLUMN pin_seconds INTEGER NOT NULL DEFAULT 0;
  -- How often what was here of it has gone: whoever remembers an inode of it can tell.
  ALTER TABLE versions ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;

  CREATE TABLE tags (
    image_id INTEGER NOT NULL REFERENCES images (id),
    name     TEXT    NOT NULL,
    version  INTEGER NOT NULL REFERENCES versions (serial) ON DELETE CASCADE,
    PRIMARY KEY (image_id, name)
  ) STRICT, WITHOUT ROWID;

  -- By name: an image may be subscribed before it is known.
  CREATE TABLE subscriptions (
    image  TEXT PRIMARY KEY,
    latest INTEGER NOT NULL CHECK (latest BETWEEN 0 AND 4294967295),
    tag    TEXT    NOT NULL,
    CHECK ((latest = 0) <> (tag = ''))
  ) STRICT, WITHOUT ROWID;
)sql",
                                                        R"sql(
  -- Numbers that names in the view were given, for ever: file handles hold them. IMAGE, or
  -- IMAGE/LINK.
  CREATE TABLE view_names (
    id   INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id < 2147483648),
    name TEXT    NOT NULL UNIQUE
  ) STRICT;
)sql",
                                                        R"sql(
  -- How its versions are to come; empty: as the cache is configured.
  ALTER TABLE subscriptions ADD COLUMN transfer TEXT NOT NULL DEFAULT '';
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

Status add_identity(Connection& connection, std::size_t old_schema) {
  if (old_schema == 0) {
    const Uuid uuid = Uuid::random();
    ICBD_ASSIGN(
        Query insert,
        connection.query("INSERT INTO node (only_row, uuid, change_number) VALUES (1, ?, 1)"));
    ICBD_TRY(insert.bind(ByteView(uuid.bytes)).run());
  }
  const Uuid epoch = Uuid::random(), none;
  ICBD_ASSIGN(Query update, connection.query("UPDATE node SET epoch = ? WHERE epoch = ?"));
  return update.bind(ByteView(epoch.bytes), ByteView(none.bytes)).run();
}

// One transaction for all steps: whoever is killed in it finds the old schema again.
Status migrate(Connection& connection) {
  ICBD_ASSIGN(Transaction transaction, Transaction::begin(connection));
  ICBD_ASSIGN(const std::size_t version, check_version(connection));
  if (version == migrations.size()) return {};
  for (std::size_t step = version; step < migrations.size(); ++step)
    ICBD_TRY(connection.execute(std::string(migrations[step])));
  ICBD_TRY(connection.execute(fmt::format("PRAGMA application_id = {}; PRAGMA user_version = {}",
                                          application_id, migrations.size())));
  ICBD_TRY(add_identity(connection, version));
  return transaction.commit();
}

// SQLite does not sync what VACUUM INTO writes, and an interrupted one is not whole: so it gets its
// name only when it is durable (https://sqlite.org/lang_vacuum.html).
Status write_backup(Connection& connection, const std::filesystem::path& backup) {
  const std::filesystem::path unfinished = backup.string() + ".unfinished";
  ICBD_ASSIGN(const unique_fd file, open_file(unfinished, O_RDWR | O_CREAT | O_TRUNC, 0600));
  ICBD_ASSIGN(Query query, connection.query("VACUUM INTO ?"));
  ICBD_TRY(query.bind(unfinished.string()).run());
  if (fsync(file.get()) != 0) return fail_errno("sync " + unfinished.string());
  if (rename(unfinished.c_str(), backup.c_str()) != 0)
    return fail_errno(fmt::format("rename {} to {}", unfinished.string(), backup.string()));
  return sync_directory(std::filesystem::absolute(backup).parent_path());
}

Status back_up(Connection& connection, const std::filesystem::path& file) {
  ICBD_ASSIGN(const std::size_t version, check_version(connection));
  if (version == 0 || version == migrations.size()) return {};
  const std::filesystem::path backup = fmt::format("{}.schema-{}", file.string(), version);
  if (const Status written = write_backup(connection, backup); !written)
    return std::unexpected(written.error().with_context(
        fmt::format("catalog {}: it was not brought to schema {}, because no copy of it could be "
                    "made",
                    file.string(), migrations.size())));
  return {};
}

}  // namespace

Status prepare_schema(Connection& connection, const std::filesystem::path& file) {
  // One process with one connection has the catalog. Before the first access, this also keeps the
  // index of the WAL in memory instead of a mapped file, where a write to a full disk would end the
  // process with SIGBUS (https://sqlite.org/wal.html#noshm).
  ICBD_TRY(connection.execute("PRAGMA locking_mode = EXCLUSIVE"));
  ICBD_TRY(check_owner(connection));
  ICBD_TRY(check_version(connection));
  ICBD_TRY(check_integrity(connection));
  ICBD_TRY(back_up(connection, file));
  ICBD_TRY(use_write_ahead_log(connection));
  ICBD_TRY(connection.execute(
      "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF"));
  return migrate(connection);
}

}  // namespace icbd::catalog
