"""What it costs until a version is complete: time, bytes on the wire, memory.

The reference is `btrfs send | btrfs receive` and a sync between the same two filesystems, taken in
turns with ours, each from cold caches. Ours begins with a reader's first read and ends when the
cache's REST says `complete`, which is after its own sync.
"""
import hashlib
import os
import time

import lab
from rows import medians, worst

IMAGE = "arrival"
# What the issue grants beside the changed chunks and the shape: frames, manifest pages, hello.
WIRE_ALLOWANCE = 64 * 1024
RSS_FIGURE_MIB = 100


def _changed_chunk_bytes(older, newer):
    return int(lab.run(lab.PROJECT / "tests/tools/changed-chunks", older, newer))


def _shape_bytes(older, newer):
    return int(lab.shell(f"btrfs send -q --proto 2 --no-data -p '{older}' '{newer}' | wc -c"))


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Side:
    """Seconds and bytes of one side, in the order of the runs."""

    def __init__(self):
        self.seconds, self.wire, self.tcp = [], [], []


def _ours(laboratory, number, side):
    laboratory.wait_known(IMAGE, number)
    lab.drop_caches()
    wire, tcp = laboratory.wire_bytes(), laboratory.tcp_bytes()
    begin = time.perf_counter()
    lab.first_byte(laboratory.view / IMAGE / str(number) / "disk.raw", 0)
    laboratory.wait_complete(IMAGE, number)
    side.seconds.append(time.perf_counter() - begin)
    side.wire.append(laboratory.wire_bytes() - wire)
    side.tcp.append(laboratory.tcp_bytes() - tcp)


def _send_receive(laboratory, number, parent, side):
    target = laboratory.cache_fs.path / "received"
    target.mkdir(exist_ok=True)
    version = laboratory.published(IMAGE, number)
    parent_option = f"-p '{laboratory.published(IMAGE, parent)}'" if parent else ""
    lab.drop_caches()
    begin = time.perf_counter()
    lab.shell(f"btrfs send -q {parent_option} '{version}' | btrfs receive -q '{target}'; "
              f"sync -f '{target}'")
    side.seconds.append(time.perf_counter() - begin)


def _write_alone(laboratory, mib):
    """Seconds to write so much to the cache's filesystem and sync it: no arrival can be faster."""
    target = laboratory.cache_fs.path / "alone"
    content = os.urandom(1 << 20)
    lab.drop_caches()
    begin = time.perf_counter()
    with open(target, "wb", buffering=0) as file:
        for _ in range(mib):
            file.write(content)
    lab.run("sync", "-f", target)
    seconds = time.perf_counter() - begin
    target.unlink()
    return seconds


def _copy_alone(laboratory, number):
    """Seconds to copy the file from one filesystem to the other and sync it: what the disk gives
    when it reads and writes at once, and nothing else is done."""
    target = laboratory.cache_fs.path / "alone"
    source = laboratory.published(IMAGE, number) / "disk.raw"
    lab.drop_caches()
    begin = time.perf_counter()
    lab.run("dd", f"if={source}", f"of={target}", "bs=1M", "iflag=direct", "conv=sparse",
            "status=none")
    lab.run("sync", "-f", target)
    seconds = time.perf_counter() - begin
    target.unlink()
    return seconds


def _in_turns(index, *actions):
    """Alternates who comes first, so that none always finds what the others left."""
    start = index % len(actions)
    for action in actions[start:] + actions[:start]:
        action()


def _check_equal(laboratory, number):
    here = _sha256(laboratory.view / IMAGE / str(number) / "disk.raw")
    there = _sha256(laboratory.published(IMAGE, number) / "disk.raw")
    if here != there:
        raise lab.BenchError(f"version {number}: the cache's bytes are not the master's")


def _measure_full(laboratory, number, runs):
    ours, reference, alone, rss = _Side(), _Side(), [], []

    def arrive():
        laboratory.empty_cache_fs()
        laboratory.start_cache()
        _ours(laboratory, number, ours)
        rss.append(laboratory.cache.peak_rss_mib())
        if len(rss) == 1:
            _check_equal(laboratory, number)
        laboratory.stop_cache()

    def receive():
        laboratory.empty_cache_fs()
        _send_receive(laboratory, number, None, reference)

    def copy():
        laboratory.empty_cache_fs()
        alone.append(_copy_alone(laboratory, number))

    for index in range(runs):
        _in_turns(index, arrive, receive, copy)
    return ours, reference, alone, rss


def _measure_incremental(laboratory, first, later, change_mib):
    ours, reference, alone = _Side(), _Side(), []
    laboratory.empty_cache_fs()
    laboratory.start_cache()
    _ours(laboratory, first, _Side())
    _send_receive(laboratory, first, None, _Side())
    for index, number in enumerate(later):
        _in_turns(index, lambda: _ours(laboratory, number, ours),
                  lambda: _send_receive(laboratory, number, number - 1, reference),
                  lambda: alone.append(_write_alone(laboratory, change_mib)))
    _check_equal(laboratory, later[-1])
    rss = laboratory.cache.peak_rss_mib()
    laboratory.stop_cache()
    return ours, reference, alone, rss


def _wire_limits(laboratory, later):
    limits = []
    for number in later:
        older, newer = (laboratory.published(IMAGE, n) for n in (number - 1, number))
        changed = _changed_chunk_bytes(older / "disk.raw", newer / "disk.raw")
        limits.append(1.02 * changed + _shape_bytes(older, newer) + WIRE_ALLOWANCE)
    return limits


def measure(laboratory, quick):
    runs, data_mib, change_mib = (3, 512, 32) if quick else (5, 2048, 100)
    disk = laboratory.work / "disk.raw"
    lab.make_image(disk, data_mib * 2, data_mib)
    first = laboratory.publish(IMAGE)
    later = []
    lab.say(f"  publishing {runs} more versions, {change_mib} MiB changed in place in each")
    for _ in range(runs):
        lab.run(lab.PROJECT / "tests/tools/disk-image", "change", disk, change_mib)
        later.append(laboratory.publish(IMAGE))

    lab.say(f"  {runs} times in full, in turns with btrfs send | btrfs receive")
    full, full_reference, full_alone, cache_rss = _measure_full(laboratory, first, runs)
    lab.say(f"  {runs} times incrementally, in turns with btrfs send | btrfs receive")
    incremental, incremental_reference, incremental_alone, rss = _measure_incremental(
        laboratory, first, later, change_mib)
    cache_rss.append(rss)
    lab.say("  what had to cross the wire, by comparing the files")
    limits = _wire_limits(laboratory, later)
    pipe = "btrfs send | btrfs receive, sync"
    copy = "dd of the same file, sync"
    limit = "writing as many bytes alone, sync"
    figure = "figure: below 100 MiB"
    return [
        medians("arrival", f"complete, {data_mib} MiB", "s", full.seconds, pipe,
                full_reference.seconds),
        medians("arrival", "the same, of what the disk allows", "s", full.seconds, copy,
                full_alone),
        medians("arrival", f"complete, next version, {change_mib} MiB changed", "s",
                incremental.seconds, pipe, incremental_reference.seconds),
        medians("arrival", "the same, of what the disk allows", "s", incremental.seconds, limit,
                incremental_alone),
        worst("arrival", "bytes on the wire, next version", "bytes", incremental.wire,
              "1.02 x changed chunks + shape + 64 KiB", limits),
        medians("arrival", "the same, counted by TCP", "bytes", incremental.tcp,
                "the cache's own count", incremental.wire),
        worst("arrival", "peak RSS of icbd-cache", "MiB", cache_rss, figure,
              [RSS_FIGURE_MIB] * len(cache_rss)),
        worst("arrival", "peak RSS of icbd-master", "MiB", [laboratory.master.peak_rss_mib()],
              figure, [RSS_FIGURE_MIB]),
    ]
