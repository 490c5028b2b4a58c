"""What reading costs when all of it is here: through the view, beside the filesystem below it.

Four ways to the same bytes, in short turns at the same offsets, from the same state of the caches:
  native   the complete version's own files, in the cache's repository
  null     a FUSE filesystem that does nothing (null_daemon.cpp) over these: the kernel's part
  icbd     the view of a cache, as it is configured by default
  served   the view of a second cache that reads every byte itself (passthrough = false)
"""
import contextlib
import dataclasses
import json
import os
import pathlib
import random
import signal
import statistics
import subprocess

import lab
from rows import medians

IMAGE, PARKED_IMAGE = "hot", "parked"
# Nothing comes by itself: what a reader measures is alone on the machine. Readers stay parked.
FETCH = 'fill = "demand-only"\ntimeout = 3600'
SMALL_FILES = 1000
PARKED_READERS = 500
OPEN_FIGURE_US = 1e6 / 30_000
GIB = 1 << 30
KIB4, MIB1 = 4096, 1 << 20


@dataclasses.dataclass
class Way:
    """One way to the bytes: its directory, and the daemons behind it."""
    name: str
    folder: pathlib.Path
    daemons: list = dataclasses.field(default_factory=list)

    def target(self, job, cold=False):
        words = [str(self.folder / "disk.raw" if job.of_file else self.folder)]
        if cold and self.name != "native":
            words.append("cold")
        return f"{self.name}={','.join(words + [str(pid) for pid in self.daemons])}"


@dataclasses.dataclass
class Job:
    case: str
    loop: str
    block: int = KIB4
    options: tuple = ()
    cold: bool = False      # the FUSE files' own pages are dropped before each slice
    requests: bool = False  # the figure is that the daemon is not asked

    @property
    def of_file(self):
        return self.loop in ("random", "sequential", "mmap")

    @property
    def unit(self):
        return "ms/GiB" if self.block == MIB1 else "us"

    def in_unit(self, seconds):
        return seconds * 1e3 * GIB / self.block if self.block == MIB1 else seconds * 1e6


JOBS = [
    Job("4k random, hot", "random"),
    Job("1M sequential, hot", "sequential", MIB1),
    Job("4k random by mmap, hot", "mmap"),
    Job("4k random, O_DIRECT", "random", options=("--direct",)),
    Job("1M sequential, O_DIRECT", "sequential", MIB1, ("--direct",)),
    Job("4k random, FUSE cache cold", "random", cold=True),
    Job("1M sequential, FUSE cache cold", "sequential", MIB1, cold=True),
    Job("stat, warm", "stat", requests=True),
    Job(f"listing of {SMALL_FILES}, warm", "readdir", requests=True),
    Job("open, read 4 KiB, close", "open"),
]
OPEN_JOB = JOBS[-1]
RANDOM_JOB = JOBS[0]


# ---- what is read ------------------------------------------------------------------------------

def _write_random(path, mib, generator):
    with open(path, "wb") as file:
        for _ in range(mib):
            file.write(generator.randbytes(MIB1))


def _publish(laboratory, quick):
    lab.say("  publishing a file that nothing compresses, small ones beside it, and one for later")
    generator = random.Random(3)
    disk = laboratory.work / "disk.raw"
    _write_random(disk, 256 if quick else 512, generator)
    for index in range(SMALL_FILES):
        (laboratory.work / f"small-{index:04}").write_bytes(generator.randbytes(KIB4))
    hot = laboratory.publish(IMAGE)
    for file in laboratory.work.iterdir():
        file.unlink()
    _write_random(disk, 128 if quick else 256, generator)
    return hot, laboratory.publish(PARKED_IMAGE)


def _start_null(laboratory, stack, folder):
    mountpoint = laboratory.folder / "null"
    mountpoint.mkdir()
    daemon = subprocess.Popen([_helper(laboratory, "null_daemon"), folder, mountpoint],
                              stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)

    def end():
        daemon.terminate()
        daemon.wait()
        daemon.stdout.close()
        if os.path.ismount(mountpoint):
            lab.run("umount", "--lazy", mountpoint)

    stack.callback(end)
    if daemon.stdout.readline() != b"ready\n":
        raise lab.BenchError("null_daemon was not ready: is this Linux 6.9 or later?")
    return Way("null", mountpoint, [daemon.pid])


def _with_worker(cache):
    """The holder and the worker that serves: the oldest of its children, one more stands by."""
    holder = cache.process.pid
    children = pathlib.Path(f"/proc/{holder}/task/{holder}/children").read_text(encoding="ascii")
    return [holder, int(children.split()[0])]


def _helper(laboratory, name):
    program = laboratory.binaries.parent / "bench" / name
    if not program.exists():
        raise lab.BenchError(f"{program} is missing: build the target {name}")
    return program


def _ways(laboratory, stack, number):
    laboratory.start_cache(FETCH)
    served, served_view = laboratory.start_second_cache("served", "passthrough = false", FETCH)
    for cache in (laboratory.cache, served):
        laboratory.wait_known(IMAGE, number, cache)
        laboratory.pull(IMAGE, number, cache)
    for cache in (laboratory.cache, served):
        laboratory.wait_complete(IMAGE, number, cache=cache)
    native = laboratory.cache_fs.path / "repository" / IMAGE / str(number)
    version = pathlib.Path(IMAGE, str(number))
    return [Way("native", native), _start_null(laboratory, stack, native),
            Way("icbd", laboratory.view / version, _with_worker(laboratory.cache)),
            Way("served", served_view / version, _with_worker(served))]


def _warm_up(laboratory, ways):
    """Every page that can be in memory is: those of the files below, and FUSE's own."""
    below = laboratory.cache_fs.path / "repository-served" / ways[0].folder.relative_to(
        laboratory.cache_fs.path / "repository")
    for folder in (below, *(way.folder for way in ways)):
        for name in sorted(os.listdir(folder)):
            with open(folder / name, "rb", buffering=0) as file:
                while file.read(MIB1):
                    pass


# ---- measuring ---------------------------------------------------------------------------------

def _read_in_turns(laboratory, job, ways, rounds):
    output = lab.run(_helper(laboratory, "paired_reader"), job.loop, "--block", job.block,
                     "--rounds", rounds, *job.options,
                     *(way.target(job, job.cold) for way in ways))
    for way in ways:
        for pid in way.daemons:
            if not pathlib.Path(f"/proc/{pid}").exists():
                logs = "".join(log.read_text(errors="replace")[-1000:]
                               for log in laboratory.folder.glob("*.log"))
                raise lab.BenchError(f"{job.case}: a daemon behind {way.name} has ended:\n{logs}")
    return json.loads(output)


def _say_ratios(case, seconds):
    """Of each round: what both sides met was the same."""
    words = []
    for ours, other in (("icbd", "native"), ("icbd", "null"), ("served", "native")):
        if ours in seconds and other in seconds:
            ratios = [b / a for a, b in zip(seconds[ours], seconds[other])]
            words.append(f"{ours}/{other} {statistics.median(ratios):.2f} "
                         f"({min(ratios):.2f} to {max(ratios):.2f})")
    lab.say(f"    {case}: {', '.join(words)}")


def _speed_rows(job, seconds):
    _say_ratios(job.case, seconds)
    values = {name: [job.in_unit(value) for value in all_] for name, all_ in seconds.items()}

    def row(case, ours, other):
        return medians("hotpath", case, job.unit, values[ours], other, values[other])

    return [row(job.case, "icbd", "native"), row(job.case, "icbd", "null"),
            row(f"{job.case}: served", "served", "native")]


def _processor_rows(job, found):
    """Of the reader and the daemons behind, together, over all rounds."""
    values = {name: [job.in_unit(of["reader"] + of["daemons"])] for name, of in found.items()}
    case, unit = f"{job.case}: processor", f"cpu {job.unit}"
    return [medians("hotpath", case, unit, values["icbd"], "native", values["native"]),
            medians("hotpath", case, unit, values["icbd"], "null", values["null"]),
            medians("hotpath", f"{case}, served", unit, values["served"], "native",
                    values["native"])]


def _request_rows(job, found):
    if found["icbd"]["operations"] < 100_000 and job.loop == "stat":
        raise lab.BenchError("too few stats to say that none of them asks the daemon")
    return [medians("hotpath", f"{job.case}: requests", f"in {found['icbd']['operations']:,}",
                    [found["icbd"]["asked"]], "figure: 0", [0])]


def _measure_job(laboratory, job, ways, rounds):
    found = _read_in_turns(laboratory, job, ways, rounds)
    if job is OPEN_JOB and found["icbd"]["asked"] < found["icbd"]["operations"]:
        raise lab.BenchError(f"requests are not counted: {found['icbd']['operations']} files were "
                             f"opened, and the daemon was asked {found['icbd']['asked']} times")
    rows = _speed_rows(job, {name: of["seconds"] for name, of in found.items()})
    rows += _processor_rows(job, found)
    return rows + _request_rows(job, found) if job.requests else rows


@contextlib.contextmanager
def _on_one_processor(pids):
    """All threads of them, and what this process starts."""
    threads = [0, *(int(thread) for pid in pids for thread in os.listdir(f"/proc/{pid}/task"))]
    everywhere = os.sched_getaffinity(0)
    try:
        for thread in threads:
            os.sched_setaffinity(thread, {min(everywhere)})
        yield
    finally:
        for thread in threads:
            with contextlib.suppress(ProcessLookupError):  # it has ended
                os.sched_setaffinity(thread, everywhere)


def _measure_one_processor(laboratory, ways, rounds):
    """Opening, with the reader and the daemons on one processor."""
    job = dataclasses.replace(OPEN_JOB, case=f"{OPEN_JOB.case}, on one processor")
    with _on_one_processor([pid for way in ways for pid in way.daemons]):
        found = _read_in_turns(laboratory, job, ways, rounds)
    rows = _speed_rows(job, {name: of["seconds"] for name, of in found.items()})
    rows += _processor_rows(job, found)
    # An idle processor would do nothing else: what it needs for one is what one takes.
    ours = job.in_unit(found["icbd"]["reader"] + found["icbd"]["daemons"])
    rows.append(medians("hotpath", f"{job.case}: processor", f"cpu {job.unit}", [ours],
                        "figure: 30,000 a second", [OPEN_FIGURE_US]))
    return rows


def _fio(way, direct):
    """Seconds of one read, with 32 under way."""
    output = lab.run("fio", "--name=hotpath", f"--filename={way.folder / 'disk.raw'}",
                     "--readonly", "--rw=randread", "--bs=4k", "--ioengine=io_uring",
                     "--iodepth=32", f"--direct={int(direct)}", "--invalidate=0", "--norandommap",
                     "--randrepeat=1", "--time_based", "--runtime=500ms", "--thread",
                     "--output-format=json")
    # fio says what it thinks of the system before the JSON.
    job = json.loads(output[output.index(b"{"):])["jobs"][0]
    return 1 / job["read"]["iops"]


def _measure_fio(ways, direct, rounds):
    job = Job(f"4k random, io_uring, 32 under way, {'O_DIRECT' if direct else 'hot'}", "random")
    seconds = {way.name: [] for way in ways}
    for index in range(rounds):
        for turn in range(len(ways)):
            way = ways[(index + turn) % len(ways)]
            seconds[way.name].append(_fio(way, direct))
    return _speed_rows(job, seconds)


# ---- many who wait, and one who need not -------------------------------------------------------

@contextlib.contextmanager
def _connections(laboratory):
    """The kernel's counts of FUSE connections; where nobody has mounted them, here."""
    folder = laboratory.folder / "connections"
    folder.mkdir()
    lab.run("mount", "-t", "fusectl", "none", folder)
    try:
        yield folder
    finally:
        lab.run("umount", folder)


@contextlib.contextmanager
def _parked(laboratory, file, waiting):
    readers = subprocess.Popen([_helper(laboratory, "parked_readers"), file, str(PARKED_READERS)],
                               stdin=subprocess.DEVNULL)
    try:
        lab.wait_until(lambda: int(waiting.read_text(encoding="ascii")) >= PARKED_READERS,
                       f"{PARKED_READERS} readers to be parked", 30)
        yield
    finally:
        readers.kill()
        readers.wait()


@contextlib.contextmanager
def _stopped(process):
    """The process does nothing; who asks it gets no answer."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def _beside_null(laboratory, job, ways, rounds):
    """Of each round, how many times as long as by the null daemon: in time, and of processors."""
    found = _read_in_turns(laboratory, job, ways, rounds)
    ours, null = found["icbd"], found["null"]
    return ([a / b for a, b in zip(ours["seconds"], null["seconds"])],
            (ours["reader"] + ours["daemons"]) / (null["reader"] + null["daemons"]))


def _measure_parked(laboratory, ways, number, rounds):
    """What the machine does by itself within seconds is more than what is looked for, and readers
    cannot be parked and sent away within a turn: so each turn is compared with one of the null
    daemon, whose clients nobody parks, and that with what it was before and after."""
    ways = [way for way in ways if way.name in ("null", "icbd")]
    file = laboratory.view / PARKED_IMAGE / str(number) / "disk.raw"
    laboratory.wait_known(PARKED_IMAGE, number)
    os.stat(file)  # its shape is here, its bytes are not
    jobs = (RANDOM_JOB, OPEN_JOB)

    def read():
        return [_beside_null(laboratory, job, ways, rounds) for job in jobs]

    before = read()
    with _connections(laboratory) as connections:
        waiting = connections / str(os.minor(os.stat(laboratory.view).st_dev)) / "waiting"
        with _stopped(laboratory.master.process), _parked(laboratory, file, waiting):
            among = read()
        # What the kernel asked ahead for outlives its readers.
        lab.wait_until(lambda: int(waiting.read_text(encoding="ascii")) == 0,
                       "the parked readers to be answered", 60)
    after = read()
    rows = []
    for job, *found in zip(jobs, before, among, after):
        (first, first_used), (parked, parked_used), (last, last_used) = found
        case = f"{job.case}, beside {PARKED_READERS} parked readers"
        lab.say(f"    {case}: times the null daemon's: "
                f"{', '.join(_spread(values) for values in (first, parked, last))} "
                "before, beside, after them")
        rows += [medians("hotpath", case, "x null", parked, "without them", first + last),
                 medians("hotpath", f"{case}: processor", "x null", [parked_used], "without them",
                         [first_used, last_used])]
    return rows


def _spread(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def measure(laboratory, quick):
    rounds = 3 if quick else 7
    hot, parked = _publish(laboratory, quick)
    with contextlib.ExitStack() as stack:
        ways = _ways(laboratory, stack, hot)
        lab.say(f"  {rounds} rounds of each; ratios of what was read in one time")
        rows = []
        for job in JOBS:
            _warm_up(laboratory, ways)  # each time: others may have needed the memory
            rows += _measure_job(laboratory, job, ways, rounds)
        rows += _measure_one_processor(laboratory, ways, rounds)
        for direct in (False, True):
            rows += _measure_fio(ways, direct, rounds)
        lab.say(f"    beside {PARKED_READERS} parked readers, and without them")
        rows += _measure_parked(laboratory, ways, parked, rounds)
    return rows
