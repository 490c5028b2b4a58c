"""A link of so many bits per second and so long a round trip, between a cache and its master.

Two ends of a veth pair, one of them in a network namespace, both behind a token bucket filter
(tc-tbf(8)): the master sends into it with its own TCP. From the namespace delay_proxy connects,
which hands what comes on to the cache, each byte half a round trip later. Everything is gone when
the `with` block is left.
"""
import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time

import bare_exchange
import lab

# Kept for measurements of networks (RFC 2544).
NEAR, FAR = "198.18.47.1", "198.18.47.2"


class Link:
    def __init__(self, proxy_program, mbit, rtt_ms):
        self.proxy_program, self.mbit, self.rtt_ms = proxy_program, mbit, rtt_ms
        self.bytes_per_second = mbit * 125_000

    def __enter__(self):
        name = f"icbd-bench-{os.getpid()}"
        near, far = f"icbd{os.getpid() % 1_000_000}a", f"icbd{os.getpid() % 1_000_000}b"
        with contextlib.ExitStack() as stack:
            lab.run("ip", "netns", "add", name)
            # With the namespace goes its end of the pair, and with that the other end.
            stack.callback(lab.run, "ip", "netns", "delete", name)
            lab.run("ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", name)
            stack.callback(subprocess.run, ["ip", "link", "delete", near], check=False,
                           stderr=subprocess.DEVNULL)
            self._set_up((), near, NEAR)
            self._set_up(("-n", name), far, FAR)
            self.namespace = pathlib.Path("/run/netns", name)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception):
        self._stack.close()

    def _set_up(self, namespace, device, address):
        # A queue of 10 ms, as a modern line has it; packets of the bucket's size at least.
        burst = max(5000, self.bytes_per_second // 500)
        limit = burst + max(20_000, self.bytes_per_second // 100)
        lab.run("ip", *namespace, "address", "add", f"{address}/30", "dev", device)
        lab.run("ip", *namespace, "link", "set", device, "up")
        lab.run("tc", *namespace, "qdisc", "add", "dev", device, "root", "tbf", "rate",
                f"{self.mbit}mbit", "burst", str(burst), "limit", str(limit))

    @contextlib.contextmanager
    def reach(self, port):
        """The address at which who listens on this port, everywhere, is reached over the link."""
        # What fits the line, and what its ends hold in a moment.
        under_way = int(self.bytes_per_second * self.rtt_ms / 2000) + 128 * 1024
        # A line has no processor to share with who uses it.
        with subprocess.Popen(["nice", "-n", "-20", self.proxy_program, self.namespace, NEAR, str(port),
                               str(int(self.rtt_ms * 500)), str(under_way)],
                              stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
            try:
                line = process.stdout.readline().decode()
                found = re.search(r"data=(\S+)", line)
                if not found:
                    raise lab.BenchError("delay_proxy did not begin")
                yield found.group(1)
            finally:
                process.kill()

    def bare_stream(self, seconds):
        """Bytes per second of one TCP stream over the link, which is all that it carries: what is
        possible."""
        with socket.create_server(("0.0.0.0", 0)) as listener:
            def serve():
                with contextlib.suppress(OSError):
                    connection, _ = listener.accept()
                    with connection:
                        while True:
                            connection.sendall(bytes(1 << 18))

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            with self.reach(listener.getsockname()[1]) as address:
                rate = _receive_for(address, seconds)
            thread.join()
        return rate

    def bare_exchanges(self, seconds, bytes_per_second):
        """Seconds that a chunk takes which is asked for beside a stream of about that speed."""
        with socket.create_server(("0.0.0.0", 0)) as listener:
            server = bare_exchange.in_a_child(
                lambda: bare_exchange.serve(listener, bytes_per_second))
            try:
                with self.reach(listener.getsockname()[1]) as address:
                    return bare_exchange.exchanges(address, seconds)
            finally:
                os.kill(server, signal.SIGKILL)
                os.waitpid(server, 0)


def _receive_for(address, seconds):
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port))) as connection:
        received, begin = 0, None
        warm = time.perf_counter() + seconds / 2
        while True:
            received += len(connection.recv(1 << 20))
            now = time.perf_counter()
            if begin is None and now >= warm:
                received, begin = 0, now
            if begin is not None and now >= begin + seconds:
                return received / (now - begin)
