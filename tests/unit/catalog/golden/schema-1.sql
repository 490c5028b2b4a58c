-- A catalog as the first release made it (schema 1), with something in every table; never edited.
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

INSERT INTO node VALUES (1, x'0f0e0d0c0b0a09080706050403020100', 17);
INSERT INTO images VALUES (1, 'win11', 9), (2, 'debian', 1), (3, 'empty', 0);
INSERT INTO versions VALUES
  (3, 1, 7, x'11111111111111111111111111111111',
   x'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', NULL, 'It''s "first"',
   1790000000, 999999999, 1023, 1000, 4000000000, -5, 7, 123456, -1, -2, 42, 'complete', 0, NULL),
  (5, 1, 9, x'22222222222222222222222222222222',
   x'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb', 7, '',
   1790000001, 0, 493, 0, 0, 0, 0, 1, 2, 3, 4, 'arriving', 1, 3),
  (6, 2, 1, x'33333333333333333333333333333333',
   x'cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc', NULL, 'remote',
   1790000002, 1, 493, 0, 0, 0, 0, 1, 2, 3, 4, 'remote', 0, NULL);
UPDATE sqlite_sequence SET seq = 8 WHERE name = 'versions';
PRAGMA application_id = 0x69636264;
PRAGMA user_version = 1;
PRAGMA journal_mode = WAL;
