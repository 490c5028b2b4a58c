"""Two plain TCP connections over a link: one streams, at a pace that keeps queues short; on the
other a chunk is asked for, again and again. Neither knows of the other."""
import contextlib
import os
import socket
import struct
import time

import lab

CHUNK = 128 * 1024
SO_MAX_PACING_RATE = 47  # socket(7); Python does not name it
PACED_AT = 0.9  # of the link, so that its queue stays short


def serve(listener, bytes_per_second):
    """Two connections: the one whose first byte is S is streamed to, the other one is answered."""
    connections = [listener.accept()[0] for _ in range(2)]
    roles = {connection.recv(1): connection for connection in connections}
    stream, answers = roles[b"S"], roles[b"A"]
    stream.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE,
                      struct.pack("@Q", int(bytes_per_second * PACED_AT)))
    answers.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE,
                       struct.pack("@Q", int(bytes_per_second)))
    for connection in connections:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    in_a_child(lambda: _stream_to(stream))
    while answers.recv(1):
        answers.sendall(bytes(CHUNK))


def in_a_child(action):
    """Its process id. Nothing of what the parent cleans up is cleaned up by it."""
    child = os.fork()
    if child:
        return child
    try:
        with contextlib.suppress(OSError):
            action()
    finally:
        os._exit(0)


def _stream_to(connection):
    while True:
        connection.sendall(bytes(1 << 18))


def _drain(connection):
    while connection.recv(1 << 18):
        pass


def exchanges(address, seconds):
    """How long each took, in seconds."""
    host, port = address.rsplit(":", 1)
    stream = socket.create_connection((host, int(port)))
    asking = socket.create_connection((host, int(port)))
    with stream, asking:
        stream.sendall(b"S")
        asking.sendall(b"A")
        asking.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = in_a_child(lambda: _drain(stream))
        took = []
        buffer = bytearray(CHUNK)
        time.sleep(seconds / 4)  # the stream is at its full speed
        end = time.perf_counter() + seconds
        while (begin := time.perf_counter()) < end:
            asking.sendall(b"?")
            received = 0
            while received < CHUNK:
                got = asking.recv_into(memoryview(buffer)[received:])
                if not got:
                    raise lab.BenchError("the other end of the bare exchange is gone")
                received += got
            took.append(time.perf_counter() - begin)
        stream.shutdown(socket.SHUT_RDWR)
        os.waitpid(reader, 0)
    return took
