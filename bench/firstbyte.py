"""How long a reader waits for the first byte of a version that nobody here has.

Measured from open() to the end of a 4 KiB read through the view, with the shape's transfer in it,
while the cache has nothing else to do. The bytes read are ones that changed, so that they come over
the wire; they are compared with the master's.
"""
import os
import random

import lab
from rows import medians

IMAGE = "firstbyte"
CHANGES_PER_VERSION = 4
CHANGE_LENGTH = 64 * 1024


def _change(path, generator):
    """Overwrites a few places that hold data; returns the offset of one of them."""
    with open(path, "r+b") as file:
        size = os.fstat(file.fileno()).st_size
        places = []
        while len(places) < CHANGES_PER_VERSION:
            try:
                offset = os.lseek(file.fileno(), generator.randrange(size), os.SEEK_DATA)
            except OSError:  # behind the last data
                continue
            places.append(offset - offset % CHANGE_LENGTH)
        for place in places:
            os.pwrite(file.fileno(), generator.randbytes(CHANGE_LENGTH), place)
        os.fsync(file.fileno())
    return places[0]


def _read_both(laboratory, number, offset):
    """Milliseconds through the view, and of the same read of the master's own file."""
    data, ours = lab.first_byte(laboratory.view / IMAGE / str(number) / "disk.raw", offset)
    expected, native = lab.first_byte(laboratory.published(IMAGE, number) / "disk.raw", offset)
    if data != expected:
        raise lab.BenchError(f"version {number} reads wrong bytes at {offset}")
    return ours * 1000, native * 1000


def measure(laboratory, quick):
    runs = 5 if quick else 20
    generator = random.Random(2)  # the same places in every run of the bench
    disk = laboratory.work / "disk.raw"
    lab.make_image(disk, 4096, 512 if quick else 1280)
    offsets = {laboratory.publish(IMAGE): 0}
    lab.say(f"  publishing {runs} versions with {CHANGES_PER_VERSION} changes each")
    for _ in range(runs):
        offset = _change(disk, generator)
        offsets[laboratory.publish(IMAGE)] = offset
    first, *later = sorted(offsets)

    lab.say(f"  {runs} times: the next version, its predecessor being here")
    laboratory.start_cache()
    laboratory.wait_known(IMAGE, later[-1])
    lab.first_byte(laboratory.view / IMAGE / str(first) / "disk.raw", 0)
    laboratory.wait_complete(IMAGE, first)
    incremental = []
    for number in later:
        incremental.append(_read_both(laboratory, number, offsets[number]))
        laboratory.wait_complete(IMAGE, number)

    lab.say(f"  {runs} times: a version of which nothing is here")
    full = []
    for number in later:
        laboratory.empty_cache_fs()
        laboratory.start_cache()
        laboratory.wait_known(IMAGE, number)
        full.append(_read_both(laboratory, number, offsets[number]))
    laboratory.stop_cache()

    reference = "the same read of the master's own BTRFS file"
    return [
        medians("firstbyte", f"4 GiB sparse, {case} (figure: 20 ms)", "ms", [o for o, _ in pairs], reference,
                [n for _, n in pairs])
        for case, pairs in (("predecessor here", incremental), ("nothing here", full))
    ]
