"""How long a real operating system takes to boot from the view, and what has to be fetched for it.

Debian on patch day: version 1 is complete on the cache, version 2 has the security updates. qemu
boots version 2 while nothing of it is here, while it arrives in the background, when it is complete,
and, beside that, the master's own file on BTRFS. Measured from the start of qemu to the guest's
report, which names its packages, from cold caches. Needs a network: the image is made of Debian's
packages.
"""
import dataclasses

import lab
from rows import medians

IMAGE = "debian"
BASE, PATCH_DAY = 1, 2
HELPERS = lab.PROJECT / "mount-helpers"
# Only what is read is fetched, unless it was asked for: what a boot costs can be told apart.
FETCH_FAST = 'fill = "demand-only"'
# A line of 130 Mbit/s: so that the version is still arriving when the guest has booted.
FETCH_SLOWLY = 'fill = "demand-only"\nbandwidth_limit = "16 MiB"'


@dataclasses.dataclass
class _Case:
    """One of the four ways; `prepare` brings the cache's version 2 into the state."""
    name: str
    prepare: object
    directory: object
    seconds: list = dataclasses.field(default_factory=list)
    fetched: list = dataclasses.field(default_factory=list)


def _make(laboratory, step):
    lab.say(f"  make-debian-image {step}: a minute or two")
    lab.run(HELPERS / "make-debian-image", step, laboratory.work)
    return (laboratory.work / "packages.sha256").read_text(encoding="ascii").strip()


def _publish_two(laboratory):
    """Returns what a guest of the second version must report."""
    _make(laboratory, "base")
    laboratory.publish(IMAGE, boot="boot", target="disk.raw")
    packages = _make(laboratory, "patch-day")
    laboratory.publish(IMAGE)
    return packages


def _new_bytes(laboratory):
    """All of version 2 that version 1 does not have."""
    return sum(int(lab.run(lab.PROJECT / "tests/tools/changed-chunks",
                           *(laboratory.published(IMAGE, n) / file for n in (BASE, PATCH_DAY))))
               for file in ("disk.raw", "boot/vmlinuz", "boot/initrd.img"))


def _cases(laboratory):
    def remote():
        laboratory.drop(IMAGE, PATCH_DAY)
        lab.drop_caches()

    def arriving():
        remote()
        laboratory.pull(IMAGE, PATCH_DAY)
        lab.wait_until(lambda: (laboratory.version(IMAGE, PATCH_DAY).get("progress") or {})
                       .get("bytes_fetched"), "the arrival to begin", 60)

    def complete():
        laboratory.drop(IMAGE, PATCH_DAY)
        # What it takes to be complete is not measured here: without the limit.
        laboratory.stop_cache()
        laboratory.start_cache(FETCH_FAST)
        laboratory.wait_known(IMAGE, PATCH_DAY)
        laboratory.pull(IMAGE, PATCH_DAY)
        laboratory.wait_complete(IMAGE, PATCH_DAY)
        laboratory.stop_cache()
        laboratory.start_cache(FETCH_SLOWLY)
        lab.drop_caches()

    view = laboratory.view / IMAGE / str(PATCH_DAY)
    return [_Case("remote", remote, view), _Case("arriving", arriving, view),
            _Case("complete", complete, view),
            _Case("native", remote, laboratory.published(IMAGE, PATCH_DAY))]


def _boot(laboratory, case, packages):
    case.prepare()
    before = laboratory.wire_bytes()
    _, reported, read_bytes, _, seconds = lab.run(HELPERS / "boot-debian-image",
                                                  case.directory).decode().split()
    case.fetched.append(laboratory.wire_bytes() - before)
    case.seconds.append(float(seconds))
    if reported != packages:
        raise lab.BenchError(f"{case.name}: the guest reports packages {reported}, not {packages}")
    state = "" if case.name == "native" else \
        f", now {laboratory.version(IMAGE, PATCH_DAY)['state']}"
    lab.say(f"  {case.name}: {seconds} s, the guest read {int(read_bytes) / 1e6:.1f} MB, "
            f"{case.fetched[-1] / 1e6:.1f} MB fetched{state}")


def measure(laboratory, quick):
    runs = 1 if quick else 3
    packages = _publish_two(laboratory)
    laboratory.start_cache(FETCH_FAST)
    laboratory.wait_known(IMAGE, PATCH_DAY)
    laboratory.pull(IMAGE, BASE)
    laboratory.wait_complete(IMAGE, BASE)
    laboratory.stop_cache()
    laboratory.start_cache(FETCH_SLOWLY)
    laboratory.wait_known(IMAGE, PATCH_DAY)

    cases = _cases(laboratory)
    lab.say(f"  {runs} times each way, in turns")
    for index in range(runs):
        turn = index % len(cases)
        for case in cases[turn:] + cases[:turn]:
            _boot(laboratory, case, packages)
    native = cases[-1]
    everything = [_new_bytes(laboratory)]
    rows = [medians("boot", f"patch day, {case.name}", "s", case.seconds,
                    "the master's file on BTRFS", native.seconds) for case in cases[:-1]]
    return rows + [medians("boot", f"fetched until it was up, {case.name}", "bytes", case.fetched,
                           "all that is new in the version", everything) for case in cases[:-1]]
