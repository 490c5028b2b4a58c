"""What a reader waits when the serving process is killed and the next one takes over."""
import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import lab
from rows import medians

IMAGE = "takeover"
FILES = 40
BUSY = 4
GOAL_MS = 5
# Between two kills: the next one serves, and another stands by.
SETTLED_SECONDS = 0.6


class Opener:
    """Opens one file after the other, each of which asks the daemon, and knows the longest wait."""

    def __init__(self, folder):
        self._paths = [folder / str(i) for i in range(FILES)]
        self._ended = False
        self._longest = 0.0
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended = True
        self._thread.join()

    def _run(self):
        while not self._ended:
            for path in self._paths:
                begin = time.perf_counter()
                os.close(os.open(path, os.O_RDONLY))
                self._longest = max(self._longest, time.perf_counter() - begin)
                time.sleep(0.0005)

    def longest_ms(self):
        """Since it was asked last."""
        longest, self._longest = self._longest, 0.0
        return longest * 1000


@contextlib.contextmanager
def _busy(count):
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def _worker(laboratory):
    """Whose turn it is: the holder's oldest child. None if there is none at the moment."""
    holder = laboratory.cache.process.pid
    children = pathlib.Path(f"/proc/{holder}/task/{holder}/children").read_text(encoding="ascii")
    return int(children.split()[0]) if children.strip() else None


def _kill(laboratory, opener):
    time.sleep(SETTLED_SECONDS)
    opener.longest_ms()
    killed = _worker(laboratory)
    os.kill(killed, signal.SIGKILL)
    lab.wait_until(lambda: _worker(laboratory) not in (None, killed), "the next worker", 30,
                   interval=0.001)
    time.sleep(SETTLED_SECONDS)
    return opener.longest_ms()


def measure(laboratory, quick):
    kills = 5 if quick else 20
    folder = laboratory.work / "files"
    folder.mkdir()
    for i in range(FILES):
        (folder / str(i)).write_bytes(os.urandom(20_000))
    laboratory.publish(IMAGE)
    laboratory.start_cache()
    laboratory.wait_known(IMAGE, 1)
    laboratory.pull(IMAGE, 1)
    laboratory.wait_complete(IMAGE, 1)
    found = []
    with Opener(laboratory.view / IMAGE / "1" / "files") as opener:
        for case, busy in (("idle", 0), (f"beside {BUSY} busy loops", BUSY)):
            with _busy(busy):
                waits = [_kill(laboratory, opener) for _ in range(kills)]
            found.append(medians("takeover", f"kill -> next open, {case}", "ms", waits, "goal",
                                 [GOAL_MS]))
    return found
