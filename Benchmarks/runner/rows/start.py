"""From exec to the reply to a first announce over UDP."""

import socket
import struct
import time

from .. import machine, systems
from ..findings import Row, limit
from ..redis import Redis


def measure(bench, findings):
    with Redis(bench.folder) as redis:
        redis.add_passkeys()
        for _ in range(max(5, bench.rounds)):
            for name, hooks in (("approval and push", {"approval": redis.url, "push": redis.url}), ("no hooks", {})):
                began = time.monotonic()
                with systems.ours(bench.folder, http=True, wait=False, **hooks) as tracker:
                    took = first_reply(tracker, bool(hooks)) - began
                    findings.figure(name).add(took * 1000, machine.cpu_seconds(tracker.pid) * 1e6)
    # The target holds for both.
    findings.ours, findings.beside = sorted(findings.figures, key=lambda name: -findings.figures[name].median)


def first_reply(tracker, has_passkey):
    """When it came."""
    deadline = time.monotonic() + 10
    path = b"/announce/" + b"0" * 32
    option = bytes([2, len(path)]) + path if has_passkey else b""
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.001)
        probe.connect(("127.0.0.1", tracker.port))
        connection = None
        while time.monotonic() < deadline:
            try:
                if connection is None:
                    probe.send(bytes.fromhex("0000041727101980") + bytes(4) + b"prob")
                    connection = probe.recv(64)[8:16]
                probe.send(connection + struct.pack(">I4s20s20sQQQIIIIH", 1, b"anno", bytes(20), b"-TR3000-aaaaaaaaaaaa",
                                                    0, 0, 0, 0, 0, 0, 50, 6881) + option)
                if probe.recv(2048)[:4] == bytes([0, 0, 0, 1]):
                    return time.monotonic()
            except OSError:
                time.sleep(0.0002)
    raise machine.BenchError("no first reply within 10 s")


ROWS = [
    Row("start", "exec to the reply to a first UDP announce, with approval and push and without hooks", "ms", limit(100),
        measure, ours="approval and push", beside="no hooks"),
]
