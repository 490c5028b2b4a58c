"""One arrival at a time, and the same by btrfs send | btrfs receive: what both cost."""
import bisect
import dataclasses
import mmap
import os
import random
import time

import lab
import processes
from rows import medians, worst

BENCH = "transfer"
PIPE = "btrfs send | btrfs receive, sync"
RSS_FIGURE_MIB = 128
GIB, MIB, KIB4 = 1 << 30, 1 << 20, 4096
ARRIVAL_SECONDS_MAX = 3600


@dataclasses.dataclass
class Side:
    """What the runs of one side have cost, in their order. `sender` and `receiver` are processor
    seconds: of master and cache, or of btrfs send and btrfs receive."""
    seconds: list = dataclasses.field(default_factory=list)
    sender: list = dataclasses.field(default_factory=list)
    receiver: list = dataclasses.field(default_factory=list)
    machine: list = dataclasses.field(default_factory=list)
    sender_rss: list = dataclasses.field(default_factory=list)
    receiver_rss: list = dataclasses.field(default_factory=list)
    wire: list = dataclasses.field(default_factory=list)
    disk: list = dataclasses.field(default_factory=list)


def in_turns(index, *actions):
    """Another one comes first each time, so that none always finds what the same other left."""
    first = index % len(actions)
    for action in actions[first:] + actions[:first]:
        action()


def ours(laboratory, image, number, side):
    """Has the cache fetch the version, from cold caches."""
    laboratory.wait_known(image, number)
    pids = laboratory.master.process.pid, laboratory.cache.process.pid
    lab.drop_caches()
    wire = laboratory.wire_bytes()
    cpu = [processes.cpu_seconds(pid) for pid in pids]
    machine = processes.machine_cpu_seconds()
    begin = time.perf_counter()
    laboratory.pull(image, number)
    laboratory.wait_complete(image, number, seconds_max=ARRIVAL_SECONDS_MAX)
    side.seconds.append(time.perf_counter() - begin)
    side.machine.append(processes.machine_cpu_seconds() - machine)
    side.sender.append(processes.cpu_seconds(pids[0]) - cpu[0])
    side.receiver.append(processes.cpu_seconds(pids[1]) - cpu[1])
    side.sender_rss.append(processes.peak_rss_mib(pids[0]))
    side.receiver_rss.append(processes.peak_rss_mib(pids[1]))
    side.wire.append(laboratory.wire_bytes() - wire)


def send_receive(laboratory, image, number, parent, side, send_options=()):
    """The same by btrfs send | btrfs receive, into `received` on the cache's filesystem."""
    target = laboratory.cache_fs.path / "received" / image
    target.mkdir(parents=True, exist_ok=True)
    against = ["-p", laboratory.published(image, parent)] if parent else []
    lab.drop_caches()
    machine = processes.machine_cpu_seconds()
    begin = time.perf_counter()
    send, receive = processes.pipeline(
        ["btrfs", "send", "-q", *send_options, *against, laboratory.published(image, number)],
        ["btrfs", "receive", "-q", target])
    lab.run("sync", "-f", target)
    side.seconds.append(time.perf_counter() - begin)
    side.machine.append(processes.machine_cpu_seconds() - machine)
    side.sender.append(send.cpu)
    side.receiver.append(receive.cpu)
    side.sender_rss.append(send.rss_mib)
    side.receiver_rss.append(receive.rss_mib)
    return target / str(number)


def cost_rows(case, ours_side, theirs, gib):
    """Processor time per GiB and memory, of either end."""
    rows = []
    for what, mine, reference, name in (
            ("master", ours_side.sender, theirs.sender, "btrfs send"),
            ("cache", ours_side.receiver, theirs.receiver, "btrfs receive"),
            ("machine, kernel threads included", ours_side.machine, theirs.machine, PIPE)):
        rows.append(medians(BENCH, f"{case}: processor time, {what}", "s/GiB",
                            [seconds / gib for seconds in mine], name,
                            [seconds / gib for seconds in reference]))
    for what, mine, reference, name in (
            ("master", ours_side.sender_rss, theirs.sender_rss, "btrfs send"),
            ("cache", ours_side.receiver_rss, theirs.receiver_rss, "btrfs receive")):
        rows.append(worst(BENCH, f"{case}: peak RSS, {what}", "MiB", mine,
                          f"figure; {name} takes {max(reference):.0f} MiB",
                          [RSS_FIGURE_MIB] * len(mine)))
    return rows


def check_equal(laboratory, image, number, here=None):
    """Reads all of it: the bytes are the master's."""
    here = here or laboratory.view / image / str(number)
    lab.run("diff", "-r", "--no-dereference", "-q", laboratory.published(image, number), here)


def data_ranges(file):
    """Where a file is no hole: (offset, length)."""
    ranges, at = [], 0
    while True:
        try:
            begin = os.lseek(file, at, os.SEEK_DATA)
        except OSError:
            return ranges
        at = os.lseek(file, begin, os.SEEK_HOLE)
        ranges.append((begin, at - begin))


class _DataOf:
    """The data of a sparse file as if it had no holes."""

    def __init__(self, path):
        self.file = os.open(path, os.O_RDWR)
        self.ranges = [(begin, length) for begin, length in data_ranges(self.file)
                       if length > 2 * MIB]
        self.ends, total = [], 0
        for _, length in self.ranges:
            total += length - 2 * MIB  # room for what begins there
            self.ends.append(total)
        if not total:
            raise lab.BenchError(f"{path} has too little data to change any of it")
        self.total = total

    def any_place(self, source):
        at = source.randrange(self.total)
        index = bisect.bisect_right(self.ends, at)
        return self.ranges[index][0] + at - (self.ends[index - 1] if index else 0)


def change_places(path, places, total_bytes, seed):
    """Overwrites `total_bytes` in so many places of a disk image with data that are as compressible
    as those of the image, but found nowhere in it: its own, with other bytes for each but 0."""
    source = random.Random(seed)
    others = bytes([0, *source.sample(range(1, 256), 255)])
    data = _DataOf(path)
    try:
        average = total_bytes // places
        for _ in range(places):
            length = min(2 * MIB, int(average * source.uniform(0.2, 1.8))) // KIB4 * KIB4
            content = os.pread(data.file, max(length, KIB4), data.any_place(source))
            os.pwrite(data.file, content.translate(others),
                      data.any_place(source) // KIB4 * KIB4)
        os.fsync(data.file)
    finally:
        os.close(data.file)


def used_bytes(filesystem):
    """What the data of a filesystem take on its disk, compressed as they are."""
    lab.run("sync", "-f", filesystem.path)
    for line in lab.run("btrfs", "filesystem", "df", "-b", filesystem.path).decode().splitlines():
        if line.startswith("Data,"):
            return int(line.rpartition("used=")[2])
    raise lab.BenchError(f"btrfs filesystem df says nothing of data in {filesystem.path}")


def read_sequentially(path):
    """Seconds to read all of a file from cold caches."""
    lab.drop_caches()
    # Page-aligned, as a program would that copies.
    with mmap.mmap(-1, MIB) as buffer:
        file = os.open(path, os.O_RDONLY)
        try:
            begin = time.perf_counter()
            while os.readv(file, [buffer]):
                pass
            return time.perf_counter() - begin
        finally:
            os.close(file)


def prepare_image(laboratory, image, size_mib):
    """A disk image with `size_mib` of files, published as version 1; returns its path."""
    disk = laboratory.work / "disk.raw"
    lab.make_image(disk, size_mib * 2, size_mib)
    laboratory.publish(image)
    return disk
