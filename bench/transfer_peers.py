"""Against what one would take without icbd (peers.py): a full copy, patch day, and an image that
was rewritten by qemu-img convert and changed a little."""
import contextlib
import dataclasses
import os
import time

import lab
import peers as peer_ways
from side_by_side import BENCH, Side, change_places, check_equal, ours, prepare_image
from rows import medians

IMAGE = "peers"


@dataclasses.dataclass
class _Case:
    name: str
    number: int
    parent: int | None


@dataclasses.dataclass
class _Runs:
    seconds: list = dataclasses.field(default_factory=list)
    wire: list = dataclasses.field(default_factory=list)


def _publish_three(laboratory, size_mib, places, change_mb):
    disk = prepare_image(laboratory, IMAGE, size_mib)
    change_places(disk, places, change_mb * 1_000_000, seed=1)
    laboratory.publish(IMAGE)
    rewritten = disk.with_suffix(".new")
    lab.run("qemu-img", "convert", "-f", "raw", "-O", "raw", disk, rewritten)
    os.rename(rewritten, disk)
    change_places(disk, places // 10, change_mb * 100_000, seed=2)
    laboratory.publish(IMAGE)
    return [_Case(f"full copy, {size_mib} MiB", 1, None),
            _Case(f"{change_mb} MB changed in {places} places", 2, 1),
            _Case(f"rewritten by qemu-img, {change_mb / 10:.0f} MB changed", 3, 2)]


def _run_way(laboratory, way, case, runs):
    way.forget(case.number)
    lab.drop_caches()
    begin = time.perf_counter()
    wire = way.bring(case.number, case.parent)
    lab.run("sync", "-f", way.folder)
    runs.seconds.append(time.perf_counter() - begin)
    runs.wire.append(wire / 1e6)
    if len(runs.seconds) == 1:
        check_equal(laboratory, IMAGE, case.number, way.target(case.number))


def _run_ours(laboratory, case, runs):
    laboratory.drop(IMAGE, case.number)
    lab.run("btrfs", "subvolume", "sync", laboratory.cache_fs.path)
    side = Side()
    ours(laboratory, IMAGE, case.number, side)
    runs.seconds += side.seconds
    runs.wire += [wire / 1e6 for wire in side.wire]
    if len(runs.seconds) == 1:
        check_equal(laboratory, IMAGE, case.number)


def _measure_case(laboratory, case, ways, count):
    mine, theirs = _Runs(), {way: _Runs() for way in ways}
    for index in range(count):
        turns = [None, *ways]
        for way in turns[index % len(turns):] + turns[:index % len(turns)]:
            if way is None:
                _run_ours(laboratory, case, mine)
            else:
                _run_way(laboratory, way, case, theirs[way])
    rows = []
    for way in ways:
        rows.append(medians(BENCH, case.name, "s", mine.seconds, way.name, theirs[way].seconds))
        rows.append(medians(BENCH, f"{case.name}: bytes on the wire", "MB", mine.wire, way.name,
                            theirs[way].wire))
    return rows


def _changed_row(laboratory, case, rows):
    """Chunks that are the same in place cost nothing, whichever inode they are in."""
    changed = int(lab.run(lab.PROJECT / "tests/tools/changed-chunks",
                          *(laboratory.published(IMAGE, n) / "disk.raw"
                            for n in (case.parent, case.number)))) / 1e6
    mine = next(row for row in rows if row.case == f"{case.name}: bytes on the wire")
    return medians(BENCH, mine.case, "MB", [mine.value], "1.1 x chunks that have changed",
                   [1.1 * changed])


def peers(laboratory, quick):
    runs, size_mib, places, change_mb = (2, 512, 120, 42) if quick else (3, 2048, 480, 170)
    cases = _publish_three(laboratory, size_mib, places, change_mb)
    laboratory.start_cache()
    rows = []
    with contextlib.ExitStack() as stack:
        ways = [way(laboratory, IMAGE) for way in peer_ways.ways()]
        for way in ways:
            stack.callback(way.close)
        for case in cases:
            lab.say(f"  {runs} times {case.name}, in turns with {len(ways)} others")
            rows += _measure_case(laboratory, case, ways, runs)
            if case.parent:
                rows.append(_changed_row(laboratory, case, rows))
    return rows
