"""What one would take without icbd, each between the same two filesystems over TCP on 127.0.0.1.

A way brings a version of an image into a subvolume of its own below one folder of the cache's
filesystem, and returns how many bytes crossed the wire. Not encrypted, as icbd is not: ssh would
make each of them slower.
"""
import contextlib
import http.server
import os
import pathlib
import re
import shutil
import socket
import subprocess
import threading

import lab
import processes


class _Way:
    def __init__(self, laboratory, image):
        self.laboratory, self.image = laboratory, image
        self.folder = laboratory.cache_fs.path / "peers" / type(self).__name__
        self.folder.mkdir(parents=True)

    def target(self, number):
        return self.folder / str(number)

    def bring(self, number, parent):
        """The version is there when it returns, and durable after the sync that follows."""
        raise NotImplementedError

    def forget(self, number):
        """It is not there; what its deletion leaves to do is done."""
        if self.target(number).exists():
            lab.run("btrfs", "subvolume", "delete", self.target(number))
            lab.run("btrfs", "subvolume", "sync", self.folder)

    def close(self):
        pass

    def _make_target(self, number, parent):
        """As one keeps versions by hand: a snapshot of the one before, or an empty one."""
        if parent:
            lab.run("btrfs", "subvolume", "snapshot", self.target(parent), self.target(number))
        else:
            lab.run("btrfs", "subvolume", "create", self.target(number))


class SendZstd(_Way):
    name = "send | zstd -3 | TCP | zstd -d | receive"

    def bring(self, number, parent):
        against = ["-p", self.laboratory.published(self.image, parent)] if parent else []
        send = ["btrfs", "send", "-q", *against, self.laboratory.published(self.image, number)]
        with socket.create_server(("127.0.0.1", 0)) as listener:
            with socket.create_connection(listener.getsockname()) as out:
                here, _ = listener.accept()
                with here:
                    return self._carry(send, out, here)

    def _carry(self, send, out, here):
        failed = []

        def receive():
            try:
                processes.pipeline(["zstd", "-q", "-d", "-c"],
                                   ["btrfs", "receive", "-q", self.folder], stdin=here)
            except BaseException as error:  # for the thread that waits
                failed.append(error)

        receiver = threading.Thread(target=receive)
        receiver.start()
        try:
            processes.pipeline(send, ["zstd", "-q", "-3", "-c"], stdout=out)
        finally:
            out.shutdown(socket.SHUT_WR)
            receiver.join()
        if failed:
            raise failed[0]
        return _bytes_acknowledged(out)


def _bytes_acknowledged(connection):
    """struct tcp_info of linux/tcp.h: tcpi_bytes_acked is a u64 at offset 120."""
    information = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    return int.from_bytes(information[120:128], "little")


class Rsync(_Way):
    name = "rsync --inplace"

    def __init__(self, laboratory, image):
        super().__init__(laboratory, image)
        configuration = laboratory.folder / "rsyncd.conf"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        configuration.write_text(
            f"address = 127.0.0.1\nport = {self.port}\nuse chroot = false\nuid = root\n"
            f"gid = root\n[images]\npath = {laboratory.repository}\n", encoding="utf-8")
        self.daemon = subprocess.Popen(
            ["rsync", "--daemon", "--no-detach", f"--config={configuration}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        lab.wait_until(self._answers, "rsync to listen", 10)

    def _answers(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            return True
        return False

    def bring(self, number, parent):
        self._make_target(number, parent)
        output = lab.run("rsync", "-a", "--inplace", "--sparse", "--stats",
                         f"rsync://127.0.0.1:{self.port}/images/{self.image}/{number}/",
                         f"{self.target(number)}/").decode()
        return sum(int(count.replace(",", "")) for count in
                   re.findall(r"^Total bytes (?:sent|received): ([\d,]+)", output, re.MULTILINE))

    def close(self):
        self.daemon.terminate()
        self.daemon.wait()


class _RangeHandler(http.server.BaseHTTPRequestHandler):
    """Files of one folder, whole or a range of one."""
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self._answer(False)

    def do_GET(self):
        self._answer(True)

    def _answer(self, with_body):
        path = self.server.folder / self.path.lstrip("/")
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            begin = int(asked.group(1)) if asked else 0
            end = min(size, int(asked.group(2)) + 1) if asked and asked.group(2) else size
            self.send_response(206 if asked else 200)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(end - begin))
            if asked:
                self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{size}")
            self.end_headers()
            self.wfile.flush()
            while with_body and begin < end:
                sent = os.sendfile(self.connection.fileno(), file.fileno(), begin, end - begin)
                if sent == 0:
                    break
                begin += sent
                self.server.bytes_sent += sent

    def log_message(self, *_):
        pass


class QemuImg(_Way):
    name = "qemu-img convert over HTTP"

    def __init__(self, laboratory, image):
        super().__init__(laboratory, image)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _RangeHandler)
        self.server.daemon_threads = True
        self.server.folder = pathlib.Path(laboratory.repository)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def bring(self, number, parent):
        # Always a new file: qemu-img knows nothing of what is there.
        self._make_target(number, None)
        self.server.bytes_sent = 0
        host, port = self.server.server_address
        # One request at a time: with the 8 that are its default, qemu-img 7.2 hangs every other time
        # (seen with libcurl 7.88).
        lab.run("qemu-img", "convert", "-q", "-m", "1", "-f", "raw", "-O", "raw",
                f"http://{host}:{port}/{self.image}/{number}/disk.raw",
                self.target(number) / "disk.raw")
        return self.server.bytes_sent

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def ways():
    """Those whose programs are on this machine."""
    found = []
    for way, programs in ((SendZstd, ("btrfs", "zstd")), (Rsync, ("rsync",)),
                          (QemuImg, ("qemu-img",))):
        missing = [program for program in programs if not shutil.which(program)]
        if missing:
            lab.say(f"  without {way.name}: there is no {', '.join(missing)}")
        else:
            found.append(way)
    return found
