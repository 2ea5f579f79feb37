"""From an announce to the moment its bytes can be queried, with tracker, Redis and consumer under a steady load.

Each of 100 users of the row's own moves a number of bytes that no other user moves, and its row in the database is read until it
shows them."""

import random
import socket
import sqlite3
import statistics
import struct
import time

from .. import load, machine, systems
from ..findings import Row, limit
from ..redis import Redis

RATE, USERS_OF_LOAD, USERS = 5000, 1000, 100
LOAD = ["--rate", RATE, "--torrents", 1000, "--peers", 20_000, "--numwant", 30, "--window", 16,
        *load.passkeys(USERS_OF_LOAD)]
# The load runs longer than the row asks, so that no marked announce finds a machine at rest.
EDGE_SECONDS = 4
PATIENCE_SECONDS = 10


def measure(bench, findings):
    seconds = max(5 * bench.seconds, 2 * EDGE_SECONDS)
    with Redis(bench.folder, machine.BOTH_CORES) as redis:
        redis.add_passkeys(USERS_OF_LOAD + USERS)
        with (systems.ours(bench.folder, approval=redis.url, push=redis.url, cores=machine.BOTH_CORES,
                           push_options={"spool_path": f"{bench.folder}/spool"}) as tracker,
              systems.consumer(bench.folder, redis) as (consumer, database)):
            users = MarkedUsers(tracker.port, database)
            for number in range(bench.rounds):
                running = load.start("udp", tracker, "--seconds", seconds, *LOAD, cores=machine.BOTH_CORES)
                consumed = machine.cpu_seconds(consumer.pid)
                waits = users.watch(seconds - EDGE_SECONDS)
                result = load.finish(running)
                consumed = (machine.cpu_seconds(consumer.pid) - consumed) * 1e6 / result["announces_answered_ever"]
                add(findings, waits, result, consumed)
                bench.say(f"  {findings.row.name} round {number + 1}: {findings.notes[-1]}")
            findings.notes.append(f"memory of the consumer {machine.resident_bytes(consumer.pid) / 2**20:.0f} MiB, "
                                  f"at its peak {machine.peak_resident_bytes(consumer.pid) / 2**20:.0f} MiB")


def add(findings, waits, result, consumed):
    waits = sorted(seconds * 1000 for seconds in waits)
    p99 = waits[len(waits) * 99 // 100]
    findings.figure("ours").add(p99, result["cpu_us_per_reply"] + consumed, **result, waits_ms=waits)
    if result["lost"] or result["errors"]:
        findings.problems.append(f"{result['lost']} replies of the load lost, {result['errors']} errors")
    findings.notes.append(
        f"{len(waits):,} marked announces, median {statistics.median(waits):.0f} ms, p99 {p99:.0f} ms, longest "
        f"{waits[-1]:.0f} ms; CPU time for an announce: tracker {result['cpu_us_per_reply']:.1f} us, consumer {consumed:.1f} us")


class MarkedUsers:
    """Announces over UDP that are looked for in the database."""

    def __init__(self, port, database):
        self.client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.client.connect(("127.0.0.1", port))
        self.client.settimeout(2)
        self.connection = self._ask(struct.pack(">QII", 0x41727101980, 0, 1), 0)[8:16]
        self.database = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
        # The first announce of a session only begins to count.
        self.totals = [1] * USERS
        for user in range(USERS):
            self._announce(user)

    @staticmethod
    def passkey(user):
        return f"{USERS_OF_LOAD + user:032x}"

    def watch(self, seconds):
        """Announces in turn, one at a time for each user; how long each took to be there."""
        waits, waiting, user = [], {}, 0
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end or waiting:
            if now > end + PATIENCE_SECONDS:
                raise machine.BenchError(f"{len(waiting)} announces are not there after {PATIENCE_SECONDS} seconds")
            if now < end and user not in waiting:
                self.totals[user] += random.randrange(1, 1 << 30)
                waiting[user] = time.monotonic()
                self._announce(user)
            user = (user + 1) % USERS
            credited = self._credited(waiting)
            now = time.monotonic()
            for one in [one for one in waiting if credited.get(self.passkey(one)) == self.totals[one] - 1]:
                waits.append(now - waiting.pop(one))
            time.sleep(0.005)
        return waits

    def _credited(self, users):
        places = ",".join("?" * len(users))
        return dict(self.database.execute(
            f"SELECT passkey, uploaded FROM users WHERE passkey IN ({places})", [self.passkey(one) for one in users]))

    def _announce(self, user):
        path = f"/announce/{self.passkey(user)}".encode()
        self._ask(
            self.connection + struct.pack(">II", 1, user) + b"\xee" * 20 + b"-XX0001-%012d" % user
            + struct.pack(">QQQIIIIH", 0, 0, self.totals[user], 0, 0, user, 0, 6881) + bytes([2, len(path)]) + path, 1)

    def _ask(self, message, action):
        for _ in range(5):
            self.client.send(message)
            try:
                reply = self.client.recv(4096)
            except TimeoutError:
                continue
            if struct.unpack(">I", reply[:4])[0] == action:
                return reply
            raise machine.BenchError("tracker: " + reply[8:].decode(errors="replace"))
        raise machine.BenchError("the tracker does not answer")


ROWS = [
    Row("latency", f"announce to queryable, {RATE:,} other announces a second: p99 of the marked ones", "ms", limit(500),
        measure, beside=None),
]
