"""Over slow and long links: how much of the link an arrival uses, and how long a reader waits for
what is not here while everything else arrives."""
import contextlib
import os
import random
import time

import side_by_side
import lab
from side_by_side import BENCH, MIB, Side
from link import Link
from rows import medians

BULK, FIRST_TOUCH = "bulk", "touched"
LINKS_MBIT = (10, 100, 1000)
ROUND_TRIPS_MS = (1, 20, 100)
# Of an arrival on each link; what a fast link would do in a moment is no measurement.
SECONDS_QUICK, SECONDS = 3, 10
CHUNK = 128 * 1024
READS_MAX = 200


def _bulk_bytes(mbit, quick, image_bytes):
    """What keeps the link busy for long enough, as far as the image has it."""
    seconds = SECONDS_QUICK if quick else SECONDS
    return min(image_bytes // 2, mbit * 125_000 * seconds)


def _publish(laboratory, quick):
    """An image, and one next version of it for each link, with as much change as that needs. Each
    differs from version 1 alone, so that any of them is shaped from it."""
    size_mib = 512 if quick else 2048
    disk = side_by_side.prepare_image(laboratory, BULK, size_mib)
    image_bytes = disk.stat().st_blocks * 512
    versions = {}
    for mbit in LINKS_MBIT:
        change = _bulk_bytes(mbit, quick, image_bytes)
        lab.run("cp", "--reflink=always", laboratory.published(BULK, 1) / "disk.raw", disk)
        side_by_side.change_places(disk, max(10, change // (4 * MIB) * 4), change, seed=mbit)
        versions[mbit] = laboratory.publish(BULK)
    (laboratory.work / "small").write_bytes(os.urandom(MIB))
    disk.unlink()
    laboratory.publish(FIRST_TOUCH)
    return versions


def _shape(laboratory, number):
    """Looks into the version, so that its shape is here."""
    return os.stat(laboratory.view / BULK / str(number) / "disk.raw").st_size


def _arrive(laboratory, number):
    """Seconds and bytes on the wire of a version whose shape is here."""
    laboratory.wait_known(BULK, number)
    laboratory.drop(BULK, number)
    _shape(laboratory, number)
    side = Side()
    side_by_side.ours(laboratory, BULK, number, side)
    return side.seconds[0], side.wire[0]


class _Reader:
    """Reads 4 KiB here and there of what has not come, one after the other."""

    def __init__(self, laboratory, number, seed):
        self.path = laboratory.view / BULK / str(number) / "disk.raw"
        older = laboratory.published(BULK, 1) / "disk.raw"
        newer = laboratory.published(BULK, number) / "disk.raw"
        # Bulk comes in the order of the file: its end is absent for the longest.
        absent = _changed_chunks(older, newer)
        absent = absent[len(absent) // 3:]
        random.Random(seed).shuffle(absent)
        self.places = absent[:READS_MAX]

    def read_until(self, ended):
        """Seconds of each read, as long as the version arrives."""
        seconds = []
        file = os.open(self.path, os.O_RDONLY)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
        try:
            for place in self.places:
                if ended():
                    break
                begin = time.perf_counter()
                os.pread(file, 4096, place)
                seconds.append(time.perf_counter() - begin)
        finally:
            os.close(file)
        return seconds


def _changed_chunks(older, newer):
    """The offsets of the chunks that are not the same."""
    found, offset = [], 0
    with open(older, "rb") as one, open(newer, "rb") as other:
        while block := other.read(CHUNK):
            if one.read(CHUNK) != block:
                found.append(offset)
            offset += CHUNK
    return found


def _percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _read_during_bulk(laboratory, number, link):
    """Seconds of the reads that had to cross the link; seconds of the first look into a version of
    another image."""
    laboratory.drop(BULK, number)
    laboratory.drop(FIRST_TOUCH, 1)
    _shape(laboratory, number)
    reader = _Reader(laboratory, number, link.mbit)
    lab.drop_caches()
    laboratory.pull(BULK, number)

    def progressed():
        return laboratory.version(BULK, number)["state"] == "complete"

    time.sleep(min(1.0, 0.1 + 3 * link.rtt_ms / 1000))  # bulk is at its full speed
    begin = time.perf_counter()
    lab.first_byte(laboratory.view / FIRST_TOUCH / "1" / "small", 0)
    touch = time.perf_counter() - begin
    every = iter(range(1_000_000))
    seconds = reader.read_until(lambda: next(every) % 10 == 9 and progressed())
    laboratory.wait_complete(BULK, number, seconds_max=side_by_side.ARRIVAL_SECONDS_MAX)
    # What took less than half a round trip was here already.
    return [s for s in seconds if s > link.rtt_ms / 2000], touch


def _measure_link(laboratory, link, number, runs):
    name = f"{link.mbit} Mb/s, RTT {link.rtt_ms} ms"
    lab.say(f"  {name}")
    possible = link.bare_stream(2 + link.rtt_ms / 50)
    bare = link.bare_exchanges(2 + link.rtt_ms / 20, possible)
    seconds, expected, waits, touches = [], [], [], []
    for _ in range(runs):
        took, wire = _arrive(laboratory, number)
        seconds.append(took)
        expected.append(wire / possible)
        more, touch = _read_during_bulk(laboratory, number, link)
        waits += more
        touches.append(touch)
    rows = [medians(BENCH, f"{name}: {wire / 1e6:.0f} MB on the wire", "s", seconds,
                    f"a bare TCP stream there: {possible / 1e6:.1f} MB/s", expected)]
    if waits:
        # The figure's frame is at most 128 KiB, and at most 10 ms of the link; a chunk, which has to
        # be here to be verified, is 128 KiB on any.
        limit = link.rtt_ms + 3 * min(10, CHUNK / link.bytes_per_second * 1000)
        for share, what in ((0.5, "p50"), (0.99, "p99")):
            rows.append(medians(BENCH, f"{name}: absent 4 KiB during bulk, {what} of {len(waits)}",
                                "ms", [_percentile(waits, share) * 1000], "RTT + 3 frames",
                                [limit]))
        rows.append(medians(BENCH, f"{name}: absent 4 KiB during bulk, p99", "ms",
                            [_percentile(waits, 0.99) * 1000],
                            f"128 KiB asked for beside a TCP stream, p99 of {len(bare)}",
                            [_percentile(bare, 0.99) * 1000]))
    rows.append(medians(BENCH, f"{name}: first byte of another version during bulk", "ms",
                        [touch * 1000 for touch in touches], "3 round trips",
                        [3 * link.rtt_ms] * len(touches)))
    return rows


def links(laboratory, quick):
    versions = _publish(laboratory, quick)
    rows = []
    proxy = laboratory.binaries.parent / "bench/delay_proxy"
    if not proxy.exists():
        raise lab.BenchError(f"{proxy} is not there: build the target delay_proxy")
    laboratory.start_cache()
    side_by_side.ours(laboratory, BULK, 1, Side())
    laboratory.stop_cache()
    # From here on the master is reached over the link.
    laboratory.master.stop()
    laboratory.start_master(data_listen="0.0.0.0:0")
    port = laboratory.master.addresses["data"].rsplit(":", 1)[1]
    for mbit in LINKS_MBIT:
        for rtt_ms in ROUND_TRIPS_MS:
            with contextlib.ExitStack() as stack:
                link = stack.enter_context(Link(proxy, mbit, rtt_ms))
                laboratory.data_address = stack.enter_context(link.reach(port))
                # Only what is asked for: no reader makes a version arrive that is not measured.
                laboratory.start_cache(fetch='fill = "demand-only"')
                stack.callback(laboratory.stop_cache)
                rows += _measure_link(laboratory, link, versions[mbit], 1 if quick else 3)
    laboratory.data_address = None
    return rows
