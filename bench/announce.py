"""How soon caches and listeners know of what the master has published."""
import os
import selectors
import socket
import time

import lab
from rows import worst

IMAGE = "announce"
LISTENERS = 1000
FIGURE_SECONDS = 1.0
MEMORY_FIGURE_MIB = 200


def _publish_and_wait(laboratory):
    """Seconds from the end of the publication to the view, and to the begin of the fetch."""
    (laboratory.work / "file").write_bytes(os.urandom(1 << 20))
    number = len(laboratory.master.rest(f"/api/images/{IMAGE}")["versions"]) + 1
    job = laboratory.master.rest(f"/api/images/{IMAGE}/versions",
                                 {"path": str(laboratory.work), "message": "bench"})["job"]
    lab.wait_until(lambda: laboratory.master.rest(f"/api/jobs/{job}")["state"] != "running",
                   "the publication", 60, interval=0.001)
    published = time.perf_counter()
    place = laboratory.view / IMAGE / str(number)
    lab.wait_until(place.exists, f"{place} in the view", 60, interval=0.001)
    seen = time.perf_counter() - published
    lab.wait_until(lambda: laboratory.version(IMAGE, number)["state"] != "remote",
                   "the fetch to begin", 60, interval=0.001)
    return seen, time.perf_counter() - published


def _listen(address):
    host, port = address.rsplit(":", 1)
    connection = socket.create_connection((host, int(port)))
    connection.sendall(b"GET /api/events HTTP/1.1\r\nHost: bench\r\n\r\n")
    connection.setblocking(False)
    return connection


def _tell_all(laboratory, connections, number):
    """Seconds from the request that changes something until every listener has heard of it."""
    for connection in connections:  # what was said before
        try:
            while connection.recv(65536):
                pass
        except BlockingIOError:
            pass
    begin = time.perf_counter()
    tag = f"/api/images/{IMAGE}/tags/bench{number}"
    laboratory.master.rest(tag, {"version": 1}, method="PUT")
    waiting = {connection: b"" for connection in connections}
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection, selectors.EVENT_READ)
        while waiting:
            for key, _ in selector.select(30):
                if key.fileobj in waiting:
                    waiting[key.fileobj] += key.fileobj.recv(65536)
                    if b"event: catalog" in waiting[key.fileobj]:
                        del waiting[key.fileobj]
                        selector.unregister(key.fileobj)
    return time.perf_counter() - begin


def measure(laboratory, quick):
    runs = 3 if quick else 20
    (laboratory.work / "file").write_bytes(b"first")
    laboratory.publish(IMAGE)
    laboratory.start_cache(poll_interval=3600)
    lab.wait_until(lambda: laboratory.cache.rest("/api/status")["master"]["announcing"],
                   "the cache to listen", 30)
    laboratory.cache.rest(f"/api/subscriptions/{IMAGE}", {"latest": 1}, method="PUT")
    seen, fetched = zip(*(_publish_and_wait(laboratory) for _ in range(runs)))
    connections = [_listen(laboratory.master.addresses["rest"]) for _ in range(LISTENERS)]
    lab.wait_until(
        lambda: laboratory.master.rest("/api/status")["events"]["listeners"] > LISTENERS,
        "all to listen", 60)
    told = [_tell_all(laboratory, connections, number) for number in range(runs)]
    memory = laboratory.master.peak_rss_mib()
    for connection in connections:
        connection.close()
    limit = [FIGURE_SECONDS] * runs
    return [
        worst("announce", "published -> in the view", "s", seen, "figure", limit),
        worst("announce", "published -> fetch begins", "s", fetched, "figure", limit),
        worst("announce", f"change -> {LISTENERS} listeners told", "s", told, "figure", limit),
        worst("announce", f"master with {LISTENERS} listeners", "MiB", [memory], "figure",
              [MEMORY_FIGURE_MIB]),
    ]
