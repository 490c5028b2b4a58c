"""Between two filesystems of one machine: what limits is disk and processor."""
import pathlib
import random

import lab
from side_by_side import (BENCH, GIB, MIB, PIPE, Side, change_places, check_equal, cost_rows,
                          in_turns, ours, prepare_image, send_receive, used_bytes)
from rows import medians

IMAGE = "transfer"
# How versions may come, by the settings of [fetch] that ask for it: each is reported.
TRANSPORTS = {word: f'fill_threshold = 0\ntransfer = "{word}"'
              for word in ("auto", "extents", "stream")}


def _start_cache(laboratory, transport="auto"):
    laboratory.start_cache(fetch=TRANSPORTS[transport])


def _full_runs(laboratory, runs, number=1, send_options=(), transport="auto"):
    """Version `number` to a cache that has nothing, in turns with send | receive."""
    mine, theirs = Side(), Side()

    def arrive():
        laboratory.empty_cache_fs()
        _start_cache(laboratory, transport)
        ours(laboratory, IMAGE, number, mine)
        mine.disk.append(used_bytes(laboratory.cache_fs))
        if len(mine.seconds) == 1:
            check_equal(laboratory, IMAGE, number)
        laboratory.stop_cache()

    def receive():
        laboratory.empty_cache_fs()
        send_receive(laboratory, IMAGE, number, None, theirs, send_options)
        theirs.disk.append(used_bytes(laboratory.cache_fs))

    for index in range(runs):
        in_turns(index, arrive, receive)
    return mine, theirs


def _incremental_runs(laboratory, later, send_options=(), transport="auto"):
    """Versions 2, 3, … to a cache that has the one before, in turns with send | receive."""
    mine, theirs = Side(), Side()
    laboratory.empty_cache_fs()
    _start_cache(laboratory, transport)
    ours(laboratory, IMAGE, later[0] - 1, Side())
    send_receive(laboratory, IMAGE, later[0] - 1, None, Side(), send_options)
    for index, number in enumerate(later):
        in_turns(index, lambda: ours(laboratory, IMAGE, number, mine),
                 lambda: send_receive(laboratory, IMAGE, number, number - 1, theirs, send_options))
    check_equal(laboratory, IMAGE, later[-1])
    laboratory.stop_cache()
    return mine, theirs


def full(laboratory, quick):
    runs, size_mib = (3, 512) if quick else (5, 2048)
    disk = prepare_image(laboratory, IMAGE, size_mib)
    gib = disk.stat().st_blocks * 512 / GIB
    lab.say(f"  {runs} times in full")
    mine, theirs = _full_runs(laboratory, runs)
    case = f"full, {size_mib} MiB"
    return [medians(BENCH, case, "s", mine.seconds, PIPE, theirs.seconds),
            *cost_rows(case, mine, theirs, gib),
            medians(BENCH, f"{case}: bytes on the wire", "MB", [b / 1e6 for b in mine.wire],
                    "the image's data", [gib * GIB / 1e6] * runs)]


def incremental(laboratory, quick):
    runs, size_mib, places, change_mb = (3, 512, 120, 42) if quick else (5, 2048, 480, 170)
    disk = prepare_image(laboratory, IMAGE, size_mib)
    later = []
    for run in range(runs):
        change_places(disk, places, change_mb * 1_000_000, seed=run)
        later.append(laboratory.publish(IMAGE))
    lab.say(f"  {runs} times incrementally, {change_mb} MB changed in {places} places")
    mine, theirs = _incremental_runs(laboratory, later)
    case = f"incremental, {change_mb} MB in {places} places"
    changed = [_changed_chunk_bytes(laboratory, number) for number in later]
    return [medians(BENCH, case, "s", mine.seconds, PIPE, theirs.seconds),
            *cost_rows(case, mine, theirs, change_mb * 1_000_000 / GIB),
            medians(BENCH, f"{case}: bytes on the wire", "MB", [b / 1e6 for b in mine.wire],
                    "chunks of 128 KiB that have changed", [b / 1e6 for b in changed])]


def _changed_chunk_bytes(laboratory, number):
    return int(lab.run(lab.PROJECT / "tests/tools/changed-chunks",
                       *(laboratory.published(IMAGE, n) / "disk.raw"
                         for n in (number - 1, number))))


def _some_content():
    """32 MiB of what files of this machine hold."""
    pieces, length = [], 0
    for path in sorted(pathlib.Path("/usr/share").rglob("*")):
        if length >= 32 * MIB:
            break
        if path.is_file() and not path.is_symlink():
            pieces.append(path.read_bytes()[:MIB])
            length += len(pieces[-1])
    return b"".join(pieces)


class _SmallFiles:
    """A tree of small files with what the files of this machine hold."""

    def __init__(self, folder, files):
        self.folder, self.files = folder, files
        self.source = random.Random(1)
        self.content = _some_content()
        for number in range(files):
            self._write(number)

    def _path(self, number):
        return self.folder / f"{number // 100:05}" / f"file-{number}"

    def _write(self, number):
        path = self._path(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        length = min(16384, int(self.source.lognormvariate(7.8, 1)))  # half below 2.4 KB
        at = self.source.randrange(len(self.content) - 16384)
        path.write_bytes(self.content[at:at + length])

    def change(self):
        """In every hundred files: one changed, half a one new, a quarter of one gone and renamed
        each."""
        share = self.files // 100
        for number in self.source.sample(range(self.files), share):
            if self._path(number).exists():
                self._write(number)
        for number in range(self.files, self.files + share // 2):
            self._write(number)
        self.files += share // 2
        chosen = [self._path(n) for n in self.source.sample(range(self.files), share // 2)]
        chosen = [path for path in chosen if path.exists()]
        for path in chosen[::2]:
            path.unlink()
        for path in chosen[1::2]:
            path.rename(path.with_name(f"{path.name}-renamed"))


def tree(laboratory, quick):
    runs, files = (3, 10_000) if quick else (3, 100_000)
    lab.say(f"  a tree of {files} small files")
    small = _SmallFiles(laboratory.work / "tree", files)
    laboratory.publish(IMAGE)
    later = []
    for _ in range(runs):
        small.change()
        later.append(laboratory.publish(IMAGE))
    rows = []
    for transport in TRANSPORTS:
        lab.say(f"  {transport}: {runs} times in full and incrementally")
        mine, theirs = _full_runs(laboratory, runs, transport=transport)
        rows.append(medians(BENCH, f"{files} small files, full, {transport}", "s", mine.seconds,
                            PIPE, theirs.seconds))
        mine, theirs = _incremental_runs(laboratory, later, transport=transport)
        rows.append(medians(BENCH, f"{files} small files, 2 % changed, {transport}", "s",
                            mine.seconds, PIPE, theirs.seconds))
    return rows


def _prepare_compressed_image(laboratory, size_mib):
    """As prepare_image(), but compressed on the disk: what mkfs allocates first and writes then is
    not, whatever the mount says, and nothing would be there to be sent as it is."""
    disk = laboratory.work / "disk.raw"
    made = laboratory.folder / "disk.raw"
    lab.make_image(made, size_mib * 2, size_mib)
    lab.run("cp", "--sparse=always", made, disk)
    made.unlink()
    laboratory.publish(IMAGE)
    return disk


def zstd(laboratory, quick):
    runs, size_mib, places, change_mb = (3, 512, 120, 42) if quick else (5, 2048, 480, 170)
    for filesystem in (laboratory.master_fs, laboratory.cache_fs):
        filesystem.compress("zstd")
    disk = _prepare_compressed_image(laboratory, size_mib)
    gib = disk.stat().st_blocks * 512 / GIB
    later = []
    for run in range(runs):
        change_places(disk, places, change_mb * 1_000_000, seed=run)
        later.append(laboratory.publish(IMAGE))
    options = ("--compressed-data", "--proto", "2")
    pipe = "btrfs send --compressed-data --proto 2 | btrfs receive, sync"
    lab.say(f"  {runs} times in full and incrementally, compress-force=zstd on both sides")
    mine, theirs = _full_runs(laboratory, runs, send_options=options)
    case = f"compress-force=zstd, full, {size_mib} MiB"
    rows = [medians(BENCH, case, "s", mine.seconds, pipe, theirs.seconds),
            medians(BENCH, f"{case}: bytes on disk", "MB", [b / 1e6 for b in mine.disk], pipe,
                    [b / 1e6 for b in theirs.disk]),
            medians(BENCH, f"{case}: bytes on the wire", "MB", [b / 1e6 for b in mine.wire],
                    "bytes on disk after btrfs receive", [b / 1e6 for b in theirs.disk]),
            *cost_rows(case, mine, theirs, gib)]
    mine, theirs = _incremental_runs(laboratory, later, options)
    rows.append(medians(BENCH, f"compress-force=zstd, incremental, {change_mb} MB", "s", mine.seconds,
                        pipe, theirs.seconds))
    return rows
