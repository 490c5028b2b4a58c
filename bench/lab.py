"""Two BTRFS filesystems in loop files, a real master and a real cache between them.

Everything lives in one temporary folder with a name of its own; leaving the `with` block ends the
daemons, unmounts and removes it, also after an error or a signal. Needs root.
"""
import contextlib
import json
import mmap
import os
import pathlib
import re
import select
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import processes

PROJECT = pathlib.Path(__file__).resolve().parent.parent
READY_SECONDS_MAX = 30
STOP_SECONDS_MAX = 30
# What one run of any bench takes of fresh pages, twice over.
MEMORY_TAKEN_AGAIN = 6 << 30


class BenchError(Exception):
    """Something that the person who runs the bench should read, without a traceback."""


class NotFound(BenchError):
    """REST answered 404."""


class Refused(BenchError):
    """REST answered 409: something keeps it from being done now."""


def say(words):
    print(words, file=sys.stderr, flush=True)


def run(*command, **options):
    """A command that must succeed; its output is part of the error if it does not."""
    words = [str(word) for word in command]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          stdin=subprocess.DEVNULL, **options) as process:
        try:
            output, errors = process.communicate()
        except BaseException:
            process.terminate()  # and let it clean up: leaving the block waits for it
            raise
    if process.returncode != 0:
        said = (output + errors).decode(errors="replace").strip()[-2000:]
        raise BenchError(f"{' '.join(words)}: {said}")
    return output


def shell(command):
    """A pipeline that must succeed in every part."""
    return run("bash", "-c", "set -euo pipefail; " + command)


def wait_until(condition, what, seconds_max, interval=0.01):
    """Polls until the condition gives something true, and returns that."""
    deadline = time.monotonic() + seconds_max
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise BenchError(f"gave up after {seconds_max} s waiting for {what}")
        time.sleep(interval)
    return answer


def drop_caches():
    """Cold: nothing of any filesystem is left in memory."""
    os.sync()
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")
    if _host_takes_memory_back():
        _take_memory_again()


def _host_takes_memory_back():
    """Whether this is a virtual machine that reports free pages (VIRTIO_BALLOON_F_REPORTING)."""
    balloons = pathlib.Path("/sys/bus/virtio/drivers/virtio_balloon").glob("virtio*/features")
    return any(file.read_text(encoding="ascii")[5:6] == "1" for file in balloons)


def _take_memory_again():
    """Has free memory backed by the host again, as memory of a real machine always is.

    Otherwise each page of the page cache costs a fault in the host (a tenth of memory's speed was
    seen), and what is measured is which side takes fewer fresh pages.
    """
    lines = pathlib.Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    available = 1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
    length = max(0, min(MEMORY_TAKEN_AGAIN, available - (1 << 30)))
    if length:
        mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE).close()


def _end_on_signal(number, _):
    say(f"ended by {signal.Signals(number).name}; cleaning up")
    sys.exit(128 + number)  # an exception: every `with` block on the way cleans up


class Filesystem:
    """BTRFS in a loop file; fresh() makes it anew, empty."""

    def __init__(self, folder, name, size_gib=24):
        self.image = folder / f"{name}.btrfs"
        self.path = folder / name
        self.path.mkdir()
        self.size = size_gib << 30
        self.options = "noatime"
        self.mounted = False
        self.fresh()

    def fresh(self):
        self.unmount()
        self.image.unlink(missing_ok=True)
        with open(self.image, "wb") as file:
            file.truncate(self.size)
        run("mkfs.btrfs", "-q", self.image)
        device = self._loop_device()
        try:
            run("mount", "-o", self.options, device, self.path)
        finally:
            run("losetup", "--detach", device)  # once nothing uses it any more
        self.mounted = True

    def _loop_device(self):
        """A disk has no page cache beneath it: with one, all bytes would be copied once more, by the
        processors that are measured."""
        attach = ("losetup", "--find", "--show")
        try:
            return run(*attach, "--direct-io=on", self.image).decode().strip()
        except BenchError as error:
            say(f"  through the page cache, which disks do not have: {error}")
            return run(*attach, self.image).decode().strip()

    def compress(self, algorithm):
        """What is written from now on is compressed, also after fresh(). By force: without it, BTRFS
        gives up on a whole file at the first piece that does not get smaller, and which one that is
        depends on how the bytes happened to be written."""
        self.options = f"noatime,compress-force={algorithm}"
        run("mount", "-o", f"remount,compress-force={algorithm}", self.path)

    def unmount(self):
        if not self.mounted:
            return
        self.mounted = False
        try:
            wait_until(lambda: subprocess.run(["umount", self.path], check=False,
                                              stderr=subprocess.DEVNULL).returncode == 0,
                       f"{self.path} to be unmounted", 10, interval=0.1)
        except BenchError:
            run("umount", "--lazy", self.path)  # something still writes; it goes when that ends


class Daemon:
    """A daemon of the project from its `ready` line to its clean end."""

    def __init__(self, program, configuration, log):
        self.name = program.name
        self.log = log
        with open(log, "ab") as log_file:
            self.process = subprocess.Popen([program, "--config", configuration],
                                            stdout=subprocess.PIPE, stderr=log_file,
                                            stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            self.addresses = dict(re.findall(r"(\w+)=(\S+)", self._ready_line()))
        except BaseException:
            self.stop()
            raise

    def _ready_line(self):
        deadline = time.monotonic() + READY_SECONDS_MAX
        output = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while b"\n" not in output:
                if not selector.select(max(0, deadline - time.monotonic())):
                    raise BenchError(f"{self.name} was not ready after {READY_SECONDS_MAX} s")
                piece = os.read(self.process.stdout.fileno(), 4096)
                if not piece:
                    words = pathlib.Path(self.log).read_text(errors="replace")[-2000:]
                    raise BenchError(f"{self.name} ended before it was ready:\n{words}")
                output += piece
        return output.decode()

    def rest(self, path, body=None, method=None):
        request = urllib.request.Request(f"http://{self.addresses['rest']}{path}", method=method)
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            words = error.read().decode(errors="replace")
            kind = {404: NotFound, 409: Refused}.get(error.code, BenchError)
            raise kind(f"{self.name}: {path}: {error.code} {words}") from error
        except OSError as error:
            words = pathlib.Path(self.log).read_text(errors="replace")[-2000:]
            raise BenchError(f"{self.name}: {path}: {error}\n{words}") from error

    @contextlib.contextmanager
    def announcements(self):
        """A function that waits until the daemon says that its catalog has changed, or so many
        seconds have passed. To ask again and again instead would cost both sides processor time
        which then is missing where it is measured."""
        host, port = self.addresses["rest"].rsplit(":", 1)
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(b"GET /api/events HTTP/1.1\r\nHost: bench\r\n\r\n")

            def wait(seconds_max):
                if select.select([connection], [], [], seconds_max)[0] and not connection.recv(65536):
                    raise BenchError(f"{self.name} does not announce any more")

            yield wait

    def peak_rss_mib(self):
        """Of the largest process: a cache is a holder, a worker, and one that waits."""
        return processes.peak_rss_mib(self.process.pid)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                say(f"{self.name} did not end by itself; killed")
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()


class Lab:
    def __init__(self, binaries, parent=None):
        if os.geteuid() != 0:
            raise BenchError("root is needed: the benches mount filesystems")
        self.binaries = binaries
        self.parent = parent
        self.master = self.cache = None
        self.data_address = None  # of the master, if caches reach it in a roundabout way

    def __enter__(self):
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _end_on_signal)
        with contextlib.ExitStack() as stack:
            self.folder = pathlib.Path(tempfile.mkdtemp(prefix="icbd-bench-", dir=self.parent))
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            if shutil.disk_usage(self.folder).free < 14 << 30:
                raise BenchError(f"{self.folder} has less than 14 GiB free; see --folder")
            self.master_fs = Filesystem(self.folder, "master")
            stack.callback(self.master_fs.unmount)
            self.cache_fs = Filesystem(self.folder, "cache")
            stack.callback(self.cache_fs.unmount)
            self.view = self.folder / "view"
            self.view.mkdir()
            self.work = self.master_fs.path / "work"
            run("btrfs", "subvolume", "create", self.work)
            self.repository = self.master_fs.path / "repository"
            self.repository.mkdir(mode=0o700)
            self.start_master()
            stack.callback(lambda: self.master.stop())  # the one that then runs
            stack.callback(self.stop_cache)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception):
        # A second Ctrl-C must not leave mounts behind.
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        try:
            self._stack.close()
        finally:
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                signal.signal(number, signal.default_int_handler
                              if number == signal.SIGINT else signal.SIG_DFL)

    def _start(self, program, configuration, name=None):
        file = self.folder / f"{name or program}.toml"
        file.write_text(configuration, encoding="utf-8")
        return Daemon(self.binaries / program, file, self.folder / f"{name or program}.log")

    def start_master(self, data_listen="127.0.0.1:0"):
        self.master = self._start("icbd-master", f"""
            insecure_plaintext = true
            [repository]
            path = "{self.repository}"
            [rest]
            listen = "127.0.0.1:0"
            [data]
            listen = "{data_listen}"
            """)

    def start_cache(self, fetch="fill_threshold = 0", poll_interval=0.1):
        self.cache = self._start_cache("icbd-cache", "repository", self.view, "", fetch,
                                       poll_interval)

    def start_second_cache(self, name, view_settings, fetch="fill_threshold = 0"):
        """Another cache of the same master, beside the first: its daemon and its mountpoint. It is
        ended with the lab."""
        mountpoint = self.folder / name
        mountpoint.mkdir()

        def unmount():
            if os.path.ismount(mountpoint):
                run("umount", "--lazy", mountpoint)

        self._stack.callback(unmount)
        cache = self._start_cache(name, f"repository-{name}", mountpoint, view_settings, fetch, 0.1)
        self._stack.callback(cache.stop)
        return cache, mountpoint

    def _start_cache(self, name, repository, mountpoint, view_settings, fetch, poll_interval):
        repository = self.cache_fs.path / repository
        repository.mkdir(mode=0o700, exist_ok=True)
        return self._start("icbd-cache", f"""
            [repository]
            path = "{repository}"
            [view]
            mountpoint = "{mountpoint}"
            {view_settings}
            [master]
            data = "{self.data_address or self.master.addresses['data']}"
            rest = "{self.master.addresses['rest']}"
            poll_interval = {poll_interval}
            [fetch]
            {fetch}
            [rest]
            listen = "127.0.0.1:0"
            """, name)

    def stop_cache(self):
        if self.cache:
            self.cache.stop()
            self.cache = None
        if os.path.ismount(self.view):
            run("umount", "--lazy", self.view)

    def empty_cache_fs(self):
        """A cache node that has nothing; its daemon is stopped."""
        self.stop_cache()
        self.cache_fs.fresh()

    def publish(self, image, **more):
        """Publishes the work subvolume as the image's next version and returns it."""
        job = self.master.rest(f"/api/images/{image}/versions",
                               {"path": str(self.work), "message": "bench", **more})["job"]

        def finished():
            answer = self.master.rest(f"/api/jobs/{job}")
            return answer if answer["state"] != "running" else None

        answer = wait_until(finished, f"the publication of {image}", 600)
        if answer["state"] != "done":
            raise BenchError(f"publishing {image}: {answer['error']['message']}")
        return answer["result"]["version"]["number"]

    def published(self, image, number):
        """The version's directory on the master, read-only."""
        return self.repository / image / str(number)

    def version(self, image, number, cache=None):
        """The version as REST has it; None while the cache has not heard of it."""
        try:
            return (cache or self.cache).rest(f"/api/images/{image}/versions/{number}")
        except NotFound:
            return None

    def wait_known(self, image, number, cache=None):
        return wait_until(lambda: self.version(image, number, cache),
                          f"the cache to list {image}@{number}", 60)

    def wait_complete(self, image, number, seconds_max=600, cache=None):
        def complete():
            version = self.version(image, number, cache)
            failure = version and version.get("progress", {}).get("failure")
            if failure:
                raise BenchError(f"{image}@{number} does not arrive: {failure}")
            return version and version["state"] == "complete"

        deadline = time.monotonic() + seconds_max
        with (cache or self.cache).announcements() as announced:
            while not complete():
                if time.monotonic() > deadline:
                    raise BenchError(f"gave up after {seconds_max} s waiting for {image}@{number} "
                                     "to be complete")
                announced(1)

    def pull(self, image, number, cache=None):
        """Has the cache fetch all of it; returns at once."""
        (cache or self.cache).rest(f"/api/images/{image}/versions/{number}/pull", {})

    def drop(self, image, number, cache=None):
        """Nothing of it is here afterwards, nor arrives."""
        def dropped():
            try:
                (cache or self.cache).rest(f"/api/images/{image}/versions/{number}",
                                           method="DELETE")
            except NotFound:  # nothing of it was here
                pass
            except Refused:  # the kernel lets go of a file a moment after it was closed
                return False
            return True

        wait_until(dropped, f"nobody to hold {image}@{number}", 30, interval=0.1)

    def wire_bytes(self):
        """What the cache says it received and sent on the data service."""
        wire = self.cache.rest("/api/status")["wire"]
        return wire["bytes_received"] + wire["bytes_sent"]

    def tcp_bytes(self):
        """The same as the kernel's sockets count it."""
        port = self.master.addresses["data"].rsplit(":", 1)[1]
        output = run("ss", "-tinHO", f"dport = :{port}").decode()
        return sum(int(n) for n in re.findall(r"bytes_(?:received|sent):(\d+)", output))


def first_byte(path, offset):
    """Opens the file and reads 4 KiB; returns the bytes and the seconds it took."""
    begin = time.perf_counter()
    file = os.open(path, os.O_RDONLY)
    try:
        data = os.pread(file, 4096, offset)
        return data, time.perf_counter() - begin
    finally:
        os.close(file)


def make_image(path, size_mib, data_mib):
    say(f"  a disk image: {size_mib} MiB, files of {data_mib} MiB from /usr")
    run(PROJECT / "tests/tools/disk-image", "create", path, size_mib, data_mib)
    os.sync()
