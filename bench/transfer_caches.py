"""Many caches at once, and many versions one after the other."""
import shutil
import time

import side_by_side
import lab
import processes
from side_by_side import BENCH, GIB, PIPE, RSS_FIGURE_MIB, Side
from rows import medians, worst

IMAGE = "shared"
CACHES = 8


def _pull_all(laboratory, caches):
    """Seconds until the last of them has version 1, from cold caches; then none has it again."""
    for cache in caches:
        laboratory.wait_known(IMAGE, 1, cache)
    lab.drop_caches()
    pid = laboratory.master.process.pid
    cpu, read = processes.cpu_seconds(pid), processes.disk_bytes_read(pid)
    begin = time.perf_counter()
    for cache in caches:
        laboratory.pull(IMAGE, 1, cache)
    for cache in caches:
        laboratory.wait_complete(IMAGE, 1, cache=cache)
    seconds = time.perf_counter() - begin
    cpu, read = processes.cpu_seconds(pid) - cpu, processes.disk_bytes_read(pid) - read
    for cache in caches:
        laboratory.drop(IMAGE, 1, cache)
    lab.run("btrfs", "subvolume", "sync", laboratory.cache_fs.path)
    return seconds, cpu, read


def _copy_all(laboratory, disk):
    """Seconds of as many plain copies at once: what the disk gives when nothing is sent or hashed."""
    folder = laboratory.cache_fs.path / "copies"
    folder.mkdir()
    lab.drop_caches()
    begin = time.perf_counter()
    processes.all_at_once([["cp", "--sparse=always", "--reflink=never", disk, folder / str(number)]
                           for number in range(CACHES)])
    lab.run("sync", "-f", folder)
    seconds = time.perf_counter() - begin
    shutil.rmtree(folder)
    lab.run("sync", "-f", laboratory.cache_fs.path)
    return seconds


def caches(laboratory, quick):
    runs, size_mib = (2, 128) if quick else (3, 512)
    disk = side_by_side.prepare_image(laboratory, IMAGE, size_mib)
    image_bytes = disk.stat().st_blocks * 512
    laboratory.start_cache(fetch='fill = "demand-only"')
    everyone = [laboratory.cache] + [
        laboratory.start_second_cache(f"cache-{number}", "", 'fill = "demand-only"')[0]
        for number in range(2, CACHES + 1)]
    lab.say(f"  {runs} times to one cache and to {CACHES} at once")
    one, all_of_them, copies = [], [], []
    for index in range(runs):
        side_by_side.in_turns(index,
                          lambda: one.append(_pull_all(laboratory, everyone[:1])),
                          lambda: all_of_them.append(_pull_all(laboratory, everyone)),
                          lambda: copies.append(_copy_all(laboratory, disk)))
    one_alone = [seconds * CACHES for seconds, _, _ in one]
    return [
        medians(BENCH, f"{CACHES} caches at once, {size_mib} MiB to each", "s",
                [seconds for seconds, _, _ in all_of_them], f"{CACHES} x one alone", one_alone),
        medians(BENCH, f"{CACHES} caches at once, {size_mib} MiB to each", "s",
                [seconds for seconds, _, _ in all_of_them], f"{CACHES} x cp at once, sync", copies),
        medians(BENCH, f"{CACHES} caches at once: processor time, master", "s/GiB",
                [cpu / image_bytes * GIB / CACHES for _, cpu, _ in all_of_them], "one alone",
                [cpu / image_bytes * GIB for _, cpu, _ in one]),
        medians(BENCH, f"{CACHES} caches at once: read from the master's disk", "MB",
                [read / 1e6 for _, _, read in all_of_them], "the image's data",
                [image_bytes / 1e6] * runs),
        worst(BENCH, f"{CACHES} caches at once: peak RSS, master", "MiB",
              [processes.peak_rss_mib(laboratory.master.process.pid)], "figure",
              [RSS_FIGURE_MIB]),
    ]


def _extents(path):
    return int(lab.run("filefrag", path).decode().rsplit(":", 1)[1].split()[0])


def history(laboratory, quick):
    size_mib, versions, places, change_mb = (256, 12, 40, 4) if quick else (1024, 50, 200, 20)
    disk = side_by_side.prepare_image(laboratory, IMAGE, size_mib)
    laboratory.start_cache()
    side_by_side.ours(laboratory, IMAGE, 1, Side())
    received = side_by_side.send_receive(laboratory, IMAGE, 1, None, Side())
    lab.say(f"  {versions} versions, one after the other, to both")
    mine, theirs = Side(), Side()
    for index in range(versions):
        side_by_side.change_places(disk, places, change_mb * 1_000_000, seed=index)
        number = laboratory.publish(IMAGE)
        side_by_side.in_turns(
            index, lambda: side_by_side.ours(laboratory, IMAGE, number, mine),
            lambda: side_by_side.send_receive(laboratory, IMAGE, number, number - 1, theirs))
    side_by_side.check_equal(laboratory, IMAGE, number)
    ours = laboratory.view / IMAGE / str(number) / "disk.raw"
    native = laboratory.cache_fs.path / "repository" / IMAGE / str(number) / "disk.raw"
    received = received.with_name(str(number)) / "disk.raw"
    seconds, reference = [], []
    for index in range(5):
        side_by_side.in_turns(index, lambda: seconds.append(side_by_side.read_sequentially(ours)),
                          lambda: reference.append(side_by_side.read_sequentially(received)))
    name = f"after {versions} versions"
    return [
        medians(BENCH, f"{name}: all of them, {change_mb} MB changed in {places} places each", "s",
                [sum(mine.seconds)], PIPE, [sum(theirs.seconds)]),
        medians(BENCH, f"{name}: sequential read, cold, through the view", "s", seconds,
                "the same version by btrfs receive", reference),
        medians(BENCH, f"{name}: extents of the file", "extents", [_extents(native)],
                "the same version by btrfs receive", [_extents(received)]),
        medians(BENCH, f"{name}: on the master", "extents",
                [_extents(laboratory.published(IMAGE, number) / "disk.raw")],
                "the same version by btrfs receive", [_extents(received)]),
    ]
