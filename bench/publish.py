"""Publishing: what the next version costs when 1 % of the chunks have changed, against the first."""
import time

import lab
from rows import worst

CHUNK = 128 * 1024
PART = 100  # one chunk of so many changes
SHARE_FIGURE = 0.03
CONSTANT_SECONDS = 0.5


def _publish(laboratory, image, path):
    """Seconds from the request to the end of the job, sources synced and caches cold before."""
    lab.drop_caches()
    begin = time.perf_counter()
    job = laboratory.master.rest(f"/api/images/{image}/versions", {"path": str(path)})["job"]

    def ended():
        report = laboratory.master.rest(f"/api/jobs/{job}")
        if report["state"] == "failed":
            raise lab.BenchError(f"publishing {path}: {report['error']['message']}")
        return report if report["state"] == "done" else None

    report = lab.wait_until(ended, f"{path} to be published", 1200, interval=0.005)
    return time.perf_counter() - begin, report["result"]["bytes_hashed"]


def _change(disk, round_number):
    """Rewrites every hundredth chunk, others in each round."""
    with open("/dev/urandom", "rb") as noise, open(disk, "r+b") as file:
        size = file.seek(0, 2)
        for offset in range(round_number % PART * CHUNK, size, PART * CHUNK):
            file.seek(offset)
            file.write(noise.read(min(CHUNK, size - offset)))


def _case(laboratory, name, source, disk, runs):
    image = name.replace(" ", "-").replace(",", "")
    first, hashed = _publish(laboratory, image, source)
    lab.say(f"  {name}: first {first:.2f} s, {hashed >> 20} MiB hashed")
    seconds = []
    for number in range(runs):
        _change(disk, number + 1)
        later, hashed = _publish(laboratory, image, source)
        lab.say(f"  {name}: next {later:.2f} s, {hashed >> 20} MiB hashed")
        seconds.append(later)
    limit = SHARE_FIGURE * first + CONSTANT_SECONDS
    return worst("publish", f"1 % changed: {name}", "s", seconds,
                 f"3 % of the first ({first:.1f} s) + {CONSTANT_SECONDS} s", [limit] * runs)


def measure(laboratory, quick):
    runs, size_mib = (2, 512) if quick else (5, 2048)
    elsewhere = laboratory.folder / "elsewhere"  # on the machine's own filesystem
    elsewhere.mkdir()
    plain = laboratory.master_fs.path / "plain"
    plain.mkdir()
    rows = []
    # A disk on the repository's filesystem is compared by extents; elsewhere all of it is read.
    for name, source, disk in (
            ("subvolume", laboratory.work, laboratory.work / "disk.raw"),
            ("directory, same filesystem", plain, plain / "disk.raw"),
            ("raw disk, same filesystem", plain / "disk.raw", plain / "disk.raw"),
            ("directory, elsewhere", elsewhere, elsewhere / "disk.raw"),
            ("raw disk, elsewhere", elsewhere / "disk.raw", elsewhere / "disk.raw")):
        if not disk.exists():
            lab.run("dd", "if=/dev/urandom", f"of={disk}", "bs=1M", f"count={size_mib}")
        rows.append(_case(laboratory, name, source, disk, runs))
    (elsewhere / "disk.raw").unlink()
    return rows
