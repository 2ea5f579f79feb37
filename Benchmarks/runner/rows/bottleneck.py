"""Saturation with the push on and a Redis that cannot keep up, or that is stopped: replies must not wait for it, and
afterwards every announce and every byte is in the stream."""

import time

from .. import load, machine, systems
from ..findings import Row, at_least
from ..redis import Redis

# By half of this all sessions have announced; from then on memory must not grow.
FULL_SECONDS = 8


def measure(bench, findings):
    for number in range(bench.rounds):
        for name, is_stopped in (("slow", False), ("stopped", True)):
            with Redis(bench.folder) as redis, systems.ours(bench.folder, push=redis.url, metrics=True) as tracker:
                warm_up(redis, tracker)
                saturate(bench, findings, f"Redis {name}", is_stopped, redis, tracker)
            bench.say(f"  {findings.row.name} round {number + 1}: {findings.notes[-1]}")


def warm_up(redis, tracker):
    """Push has its connection and its script before Redis stops."""
    load.run("udp", tracker, "--seconds", 0.3, "--rate", 1000, "--torrents", 1, "--peers", 16, "--numwant", 0,
             "--path", "/announce/f", "--passkeys", 16)
    machine.wait_until(lambda: redis.stream()["entries"] > 0, "the first entries are in the stream", 10, 0.05)
    tracker.drain_queue(10)
    redis.clear_stream()


def saturate(bench, findings, name, is_stopped, redis, tracker):
    """One load, then what Redis has of it."""
    seconds = max(2 * bench.seconds, FULL_SECONDS)
    if is_stopped:
        redis.pause()
    running = load.start("udp", tracker, "--seconds", seconds, *load.POPULATION, *load.passkeys(systems.PASSKEYS),
                         "--rising-counters")
    time.sleep(seconds / 2)
    half = tracker.resident()
    result = load.finish(running)
    full = tracker.resident()
    backlog = tracker.metric("tracker_push_queue_depth")
    redis.resume()
    answered = result["announces_answered_ever"]
    tracker.drain_queue(60)
    machine.wait_until(lambda: redis.stream()["announces"] >= answered, "the stream holds them", 20, 0.2)
    found, sessions = redis.stream(), count_sessions(redis)
    findings.figure(name).add(
        result["replies_per_second"], result["cpu_us_per_reply"], **result, resident_half=half, resident_end=full,
        backlog=backlog, stream=found, sessions=sessions)
    findings.problems += problems(name, result, found, sessions, half, full)
    findings.notes.append(
        f"{name}: p99.9 {result['latency_p999_us'] / 1000:.1f} ms, longest {result['latency_max_us'] / 1000:.1f} ms; "
        f"{backlog:,.0f} records waited, then {found['announces']:,} of {answered:,} announces were there, as "
        f"{found['entries']:,} entries; resident {half / 1e6:.0f} MB at half time, {full / 1e6:.0f} MB at the end, "
        f"{sessions:,} sessions")


def problems(name, result, found, sessions, half, full):
    """What must not be. A session's first announce credits nothing, each later one 1000 bytes."""
    answered = result["announces_answered_ever"]
    if result["lost"] or result["errors"]:
        yield f"{name}: {result['lost']} replies lost, {result['errors']} errors"
    if result["announces_sent_ever"] == answered and found["announces"] != answered:
        yield f"{name}: {found['announces']} of {answered} announces in the stream"
    expected = 1000 * (answered - sessions)
    if result["announces_sent_ever"] == answered and found["uploaded"] != expected:
        yield f"{name}: {found['uploaded']} bytes credited, {expected} expected"
    if full > half * 1.1:
        yield f"{name}: memory still grows, {half / 1e6:.0f} to {full / 1e6:.0f} MB"


def count_sessions(redis):
    """The sessions that have a snapshot; those of the warm-up have another passkey."""
    cursor, found = "0", set()
    while True:
        cursor, keys = redis.call("SCAN", cursor, "MATCH", "tracker:last:000000000000000000000000*", "COUNT", 20000)
        found.update(keys)
        if cursor == "0":
            return len(found)


ROWS = [
    Row("redis-bottleneck", "UDP announce with passkey and push, saturated, with Redis stopped beside a Redis that is slow: "
        "replies do not wait, nothing is lost, memory is bounded by sessions", "replies/s", at_least(0.9), measure,
        ours="Redis stopped", beside="Redis slow"),
]
