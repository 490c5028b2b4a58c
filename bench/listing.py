"""The command line over a cache that knows 100 images of 100 versions each."""
import os
import sqlite3
import time

import lab
from rows import worst

IMAGES = 100
VERSIONS = 100
FIGURE_MS = 100

INSERT = """INSERT INTO versions (image_id, number, uuid, manifest, message, published_seconds,
  published_nanoseconds, root_mode, root_uid, root_gid, root_seconds, root_nanoseconds, entries,
  file_bytes, data_bytes, send_transaction, state)
  VALUES (?, ?, ?, ?, 'updates of the month', 1700000000, 0, 493, 0, 0, 0, 0, 1000, 4294967296,
          1073741824, 1, 'remote')"""


def _fill_catalog(file):
    """What a cache writes when it hears of them, written without a master that has them all."""
    with sqlite3.connect(file) as catalog:
        for image in range(1, IMAGES + 1):
            name = f"image-{image:03}"
            row = catalog.execute("INSERT INTO images (name, highest_number) VALUES (?, ?)",
                                  (name, VERSIONS)).lastrowid
            catalog.executemany(INSERT, ((row, number, os.urandom(16), os.urandom(32))
                                         for number in range(1, VERSIONS + 1)))
    catalog.close()


def _milliseconds(laboratory, *arguments):
    begin = time.perf_counter()
    output = lab.run(laboratory.binaries / "icbd", "--server",
                     f"http://{laboratory.cache.addresses['rest']}", *arguments)
    seconds = time.perf_counter() - begin
    return seconds * 1000, output.count(b"\n")


def measure(laboratory, quick):
    runs = 5 if quick else 30
    laboratory.start_cache()
    laboratory.stop_cache()
    _fill_catalog(laboratory.cache_fs.path / "repository/.icbd/catalog.sqlite3")
    laboratory.start_cache()
    rows = []
    for name, arguments, lines in (("list", ("list",), IMAGES),
                                   ("list IMAGE", ("list", "image-050"), VERSIONS)):
        times = []
        for _ in range(runs):
            milliseconds, printed = _milliseconds(laboratory, *arguments)
            if printed < lines:
                raise lab.BenchError(f"icbd {name} printed {printed} lines")
            times.append(milliseconds)
        rows.append(worst("list", f"icbd {name}, {IMAGES} x {VERSIONS}", "ms", times, "figure",
                          [FIGURE_MS] * runs))
    return rows
