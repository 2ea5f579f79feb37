"""What connections cost that announce once and stay."""

import contextlib
import resource
import socket

from .. import machine, systems
from ..findings import Row, limit

CONNECTIONS = 10_000
# A first few, so that what is set up once is not counted.
FIRST = 100
REQUEST = (b"GET /announce?info_hash=" + b"%%00" * 19 + b"%%01&peer_id=-qB4500-%012d&port=6881&uploaded=0&downloaded=0"
           b"&left=0&compact=1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")


def measure(bench, findings):
    allow_descriptors(2 * CONNECTIONS)
    for number in range(bench.rounds):
        with systems.ours(bench.folder, http=True, udp=False) as tracker, contextlib.ExitStack() as stack:
            for index in range(FIRST):
                stack.enter_context(connect(tracker.port, index))
            before = tracker.resident()
            connections = [stack.enter_context(connect(tracker.port, index)) for index in range(CONNECTIONS)]
            after = tracker.resident()
            for connection in connections[::500]:
                announce(connection, 1)
        findings.figure("ours").add((after - before) / CONNECTIONS, resident_before=before, resident_after=after)
        bench.say(f"  {findings.row.name} round {number + 1}: {before / 1e6:.1f} MB before, {after / 1e6:.1f} MB with them")
    found = findings.figures["ours"]
    findings.notes.append(f"{found.median_of('resident_before') / 1e6:.1f} MB resident before, "
                          f"{found.median_of('resident_after') / 1e6:.1f} MB with them; each has announced once")


def allow_descriptors(count):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))
        except (OSError, ValueError):
            raise machine.NotRun(f"{hard} open files are allowed, {count} are needed (ulimit -n)") from None
    elif soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def connect(port, index):
    """A connection that has announced."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=5, source_address=(f"127.0.0.{2 + index % 64}", 0))
    announce(connection, index % 100)
    return connection


def announce(connection, peer):
    connection.sendall(REQUEST % peer)
    if b"5:peers" not in connection.recv(65536):
        raise machine.BenchError("a connection got no announce reply")


ROWS = [
    Row("idle", f"{CONNECTIONS:,} idle keep-alive connections: growth of VmRSS", "bytes/connection", limit(4096), measure,
        beside=None),
]
