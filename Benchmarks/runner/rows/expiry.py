"""How long an announce waits while a million other peers expire."""

import time

from .. import load, machine, systems
from ..findings import Row, limit

# Seconds. The peers come in the first half of the period and are silent for longer than the lifetime when it ends.
SWEEP_PERIOD, LIFETIME = 15, 5
PROBE = ["--rate", 2000, "--torrents", 100, "--peers", 1000, "--sockets", 4]
SWEEPS, EXPIRED = "chihaya_storage_gc_duration_milliseconds_count", "tracker_peers_expired_total"


def measure(bench, findings):
    storage = {"gc_interval": f"{SWEEP_PERIOD}s", "peer_lifetime": f"{LIFETIME}s"}
    with systems.ours(bench.folder, storage=storage, metrics=True) as tracker:
        machine.wait_until(lambda: tracker.metric(SWEEPS) > 0, "a sweep", SWEEP_PERIOD + 5, 0.02)
        swept = time.monotonic()
        for number in range(bench.rounds):
            before = tracker.metric(EXPIRED)
            load.fill(tracker, "--torrents", 10_000, *load.MILLION, "--numwant", 0)
            add(findings, "without a sweep", load.run("udp", tracker, "--seconds", 2, *PROBE))
            swept += SWEEP_PERIOD
            wait = swept - 1.5 - time.monotonic()
            if wait < 0:
                raise machine.BenchError("this machine is too slow to add a million peers between two sweeps")
            time.sleep(wait)
            add(findings, "during the sweep", load.run("udp", tracker, "--seconds", 3, *PROBE))
            expired = tracker.metric(EXPIRED) - before
            if expired < 990_000:
                raise machine.BenchError(f"only {expired:,.0f} peers expired while the probe ran")
            bench.say(f"  {findings.row.name} round {number + 1}: {expired:,.0f} expired, longest wait "
                      f"{findings.figures['during the sweep'].values[-1]:.2f} ms")
        took = tracker.metric("chihaya_storage_gc_duration_milliseconds_sum") / bench.rounds
    findings.notes.append(f"a sweep takes {took:.0f} ms")
    for name, figure in findings.figures.items():
        findings.notes.append(f"{name}: p99 {figure.median_of('latency_p99_us') / 1000:.2f} ms")


def add(findings, name, result):
    findings.figure(name).add(result["latency_max_us"] / 1000, result["cpu_us_per_reply"], **result)


ROWS = [
    Row("expiry", "2,000 announces a second to other swarms while the sweep takes a million peers out: the longest wait",
        "ms", limit(5), measure, ours="during the sweep", beside="without a sweep"),
]
