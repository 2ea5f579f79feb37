"""Runs the load generator (Benchmarks/LoadGenerator)."""

import json
import os
import pathlib
import subprocess

from . import machine, systems

GENERATOR = pathlib.Path(os.environ.get("LOAD_GENERATOR", systems.ROOT / ".build" / "release" / "LoadGenerator"))
# Requests in flight: 16 sockets with 12 each fit opentracker's default receive buffer; with 16 it drops some.
UDP_WINDOW = ["--sockets", "16", "--window", "12"]
# A program that hangs fails its row instead of the run.
PATIENCE_SECONDS = 180

# The swarms of most rows: uniform, so that every reply carries 50 peers and trackers are compared on the same bytes.
POPULATION = ["--torrents", 1000, "--peers", 100_000]
MILLION = ["--peers", 1_000_000, "--unique-ports"]


def passkeys(count):
    """Announces carry one of `count` passkeys, in the path of BEP 41's URL data or of the request."""
    return ["--path", "/announce/", "--passkeys", count]


def arguments(transport, tracker, options, cores):
    return ["taskset", "-c", cores, str(GENERATOR), transport, tracker.host, str(tracker.port), "--pid", str(tracker.pid),
            *(UDP_WINDOW if transport == "udp" else []), *map(str, options)]


def run(transport, tracker, *options, may_lose=False, cores=machine.LOAD_CORE):
    """One load against a tracker; the JSON it prints. Errors void the measurement, and so do lost replies."""
    command = arguments(transport, tracker, options, cores)
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    if done.returncode != 0:
        raise machine.BenchError(f"{' '.join(command)}: {done.stderr.strip()}")
    result = json.loads(done.stdout)
    if result["errors"]:
        raise machine.BenchError(f"{tracker.name}: {result['errors']} errors in {' '.join(map(str, options))}")
    if result["lost"] > result["replies"] / 200 and not may_lose:
        raise machine.BenchError(f"{tracker.name}: {result['lost']} of {result['replies']} lost")
    return result


def start(transport, tracker, *options, cores=machine.LOAD_CORE):
    """The same, without waiting for it; `finish` has its JSON."""
    return subprocess.Popen(arguments(transport, tracker, options, cores), stdout=subprocess.PIPE, text=True)


def finish(running):
    """Waits for what `start` returned."""
    output, _ = running.communicate(timeout=PATIENCE_SECONDS)
    if running.returncode != 0:
        raise machine.BenchError(f"{' '.join(running.args)}: exit {running.returncode}")
    return json.loads(output)


def fill(tracker, *options):
    """Every peer once."""
    return run("udp", tracker, "--fill", *options, may_lose=True)
