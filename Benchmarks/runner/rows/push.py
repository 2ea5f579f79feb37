"""Announces from the publisher's queue to Redis, beside what Redis itself can do."""

import json
import os
import re
import subprocess

from .. import build, machine, systems
from ..findings import Row, at_least
from ..redis import Redis
from .consume import STREAM, run_limit

LIMITS = ("xadd", "multi", "script")
BATCH = 100
# PushBenchmark.swift's announces: a session begins at nothing and reports this much more each time.
SESSIONS, UPLOADED_EACH = 20_000, 1_000_003


def measure(bench, findings):
    limits = build.c_program("redis_limits", "-lhiredis")
    command = build.push_benchmark(bench.say)
    events = int(75_000 * bench.seconds) // BATCH * BATCH
    with Redis(bench.folder, machine.BOTH_CORES) as redis:
        for number in range(bench.rounds):
            for name in ("ours", *LIMITS):
                redis.call("FLUSHALL")
                before = redis.cpu_seconds()
                found = run_push(command, redis, events) if name == "ours" else run_limit(limits, name, redis, events, BATCH)
                used = (redis.cpu_seconds() - before) * 1e6 / events
                findings.figure(name).add(found["per_second"], used, **found)
                bench.say(f"  {findings.row.name} round {number + 1}: {name} {found['per_second']:,.0f}/s, "
                          f"Redis {used:.1f} us for an event")
                if name == "ours":
                    check(findings, redis, events)
                    if number == 0:
                        note_memory(findings, redis, events)
    findings.notes.append(
        f"the CPU time is Redis'; putting a record into the queue takes {findings.figures['ours'].median_of('enqueue_ns'):.0f} "
        f"ns of a worker's; {events:,} events of {SESSIONS:,} sessions")


def run_push(command, redis, events):
    """One run of PushBenchmark.swift."""
    environment = {**os.environ, "PUSH_BENCHMARK_EVENTS": str(events), "PUSH_BENCHMARK_REDIS": redis.url}
    done = subprocess.run(command, cwd=systems.ROOT, env=environment, capture_output=True, text=True)
    found = re.search(r"^push-benchmark: (\{.*\})$", done.stdout, re.MULTILINE)
    if done.returncode != 0 or not found:
        raise machine.BenchError(f"the push benchmark: {(done.stdout + done.stderr)[-2000:]}")
    return json.loads(found.group(1))


def check(findings, redis, events):
    """The stream has each announce once and credits what the counters grew by."""
    found = redis.stream()
    expected = sum(UPLOADED_EACH * ((events - 1 - session) // SESSIONS) for session in range(min(events, SESSIONS)))
    if (found["announces"], found["uploaded"]) != (events, expected):
        findings.problems.append(f"the stream has {found['announces']} announces of {events} and credits "
                                 f"{found['uploaded']} bytes of {expected}")


def note_memory(findings, redis, events):
    """What Redis holds: all of it by its own account, the stream by MEMORY USAGE; the rest is snapshots."""
    stream = redis.call("MEMORY", "USAGE", STREAM, "SAMPLES", 0)
    used = redis.info("memory")["used_memory"]
    redis.call("DEL", STREAM)
    rest = redis.info("memory")["used_memory"]
    redis.call("FLUSHALL")
    empty = redis.info("memory")["used_memory"]
    findings.notes.append(f"memory of Redis: {stream / events:.0f} bytes for an entry ({(used - rest) / events:.0f} by "
                          f"used_memory), {(rest - empty) / SESSIONS:.0f} for a session's snapshot with its key and expiry")


ROWS = [
    Row("push", "the publisher's queue to Redis, beside pipelined XADD (xadd), XADD with HSET and EXPIRE (multi) and a simple "
        "script (script) with fourteen fields", "events/s", at_least(0.85), measure, beside="xadd"),
]
