"""Entries from the stream to a durable commit, beside draining the same stream without work."""

import json
import sqlite3
import subprocess
import time

from .. import build, machine, systems
from ..findings import Row, at_least
from ..redis import Redis

BATCH = 64
STREAM = "tracker:traffic"


def measure(bench, findings):
    limits = build.c_program("redis_limits", "-lhiredis")
    entries = int(100_000 * bench.seconds) // BATCH * BATCH
    with Redis(bench.folder, machine.BOTH_CORES) as redis:
        for number in range(bench.rounds):
            run_limit(limits, "xadd", redis, entries)
            found = run_limit(limits, "drain", redis, entries)
            findings.figure("drain").add(found["per_second"], found["cpu_us"], **found)
            run_limit(limits, "xadd", redis, entries)
            commit_all(bench, findings, redis, entries)
            bench.say(f"  {findings.row.name} round {number + 1}: committed {findings.figures['ours'].values[-1]:,.0f}/s, "
                      f"drained {found['per_second']:,.0f}/s")
    ours = findings.figures["ours"]
    findings.notes.append(f"drain: XREADGROUP and XACK of 500 entries at a time; memory of the consumer "
                          f"{ours.median_of('resident') / 2**20:.0f} MiB, at its peak {ours.median_of('peak') / 2**20:.0f} MiB")


def run_limit(program, mode, redis, entries, batch=BATCH):
    """One mode of Benchmarks/limits/redis_limits.c."""
    done = subprocess.run([program, mode, redis.path, STREAM, str(entries), str(batch)], capture_output=True, text=True)
    if done.returncode != 0:
        raise machine.BenchError(f"redis_limits {mode}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def commit_all(bench, findings, redis, entries):
    """From exec of the consumer to the commit of the last entry."""
    began = time.monotonic()
    with systems.consumer(bench.folder, redis) as (process, database):
        reader = sqlite3.connect(f"file:{database}?mode=ro", uri=True)

        def sums(statement):
            try:
                return tuple(number or 0 for number in reader.execute(statement).fetchone() or (0,))
            except sqlite3.OperationalError:  # before it has made its tables
                return (0,)
        process.wait_until(lambda: sums("SELECT applied + duplicates + dead FROM streams") == (entries,),
                           "every entry is committed", seconds=120, interval=0.02)
        seconds = time.monotonic() - began
        cpu = machine.cpu_seconds(process.pid)
        # Entry i carries 1000 i and 500 i bytes (redis_limits.c).
        whole = entries * (entries - 1) // 2
        if (sums("SELECT applied FROM streams") != (entries,)
                or sums("SELECT sum(uploaded), sum(downloaded) FROM users") != (1000 * whole, 500 * whole)):
            findings.problems.append("the database has other sums than the stream")
        findings.figure("ours").add(
            entries / seconds, cpu * 1e6 / entries, seconds=seconds, entries=entries,
            resident=machine.resident_bytes(process.pid), peak=machine.peak_resident_bytes(process.pid))
        reader.close()


ROWS = [
    Row("consume", "stream to durable commit, one consumer, beside reading and acknowledging the same entries without work",
        "entries/s", at_least(0.6), measure, beside="drain"),
]
