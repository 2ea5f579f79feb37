"""Runs the load generator (Benchmarks/LoadGenerator) and, to check it, the C tools of ../shared/tools."""

import json
import os
import pathlib
import re
import shutil
import subprocess

from . import machine, systems

GENERATOR = pathlib.Path(os.environ.get("LOAD_GENERATOR", systems.ROOT / ".build" / "release" / "LoadGenerator"))
TOOLS = pathlib.Path(os.environ.get("SHARED_TOOLS", systems.ROOT.parent / "shared" / "tools"))
# Requests in flight: 16 sockets with 12 each fit opentracker's default receive buffer; with 16 it drops some.
UDP_WINDOW = ["--sockets", "16", "--window", "12"]


def arguments(transport, tracker, options):
    common = [transport, tracker.host, str(tracker.port), "--pid", str(tracker.pid)]
    return [str(GENERATOR), *common, *(UDP_WINDOW if transport == "udp" else []), *map(str, options)]


def run(transport, tracker, *options, may_lose=False, may_fail=False):
    """One load against a tracker; the JSON it prints. Errors void the measurement, and so do lost replies."""
    command = ["taskset", "-c", machine.LOAD_CORE, *arguments(transport, tracker, options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise machine.BenchError(f"{' '.join(command)}: {done.stderr.strip()}")
    result = json.loads(done.stdout)
    if result["errors"] and not may_fail:
        raise machine.BenchError(f"{tracker.name}: {result['errors']} errors in {' '.join(map(str, options))}")
    if result["lost"] > result["replies"] / 200 and not may_lose:
        raise machine.BenchError(f"{tracker.name}: {result['lost']} of {result['replies']} lost")
    return result


def start(transport, tracker, *options):
    """The same, without waiting for it."""
    return subprocess.Popen(
        ["taskset", "-c", machine.LOAD_CORE, *arguments(transport, tracker, options)], stdout=subprocess.PIPE, text=True)


def fill(tracker, *options):
    """Every peer once."""
    return run("udp", tracker, "--fill", *options, may_lose=True)


def c_tool(name, folder):
    """The compiled C tool, or None where its source or a compiler is missing."""
    source = TOOLS / f"{name}.c"
    if not source.exists() or not shutil.which("cc"):
        return None
    binary = pathlib.Path(folder) / name
    if not binary.exists():
        subprocess.run(["cc", "-O2", "-w", "-o", str(binary), str(source)], check=True)
    return binary


def run_c_tool(binary, tracker, *options):
    """Replies per second as the C tool counts them."""
    done = subprocess.run(
        ["taskset", "-c", machine.LOAD_CORE, str(binary), tracker.host, str(tracker.port), *map(str, options)],
        capture_output=True, text=True, timeout=120, check=True)
    return float(re.search(r"(?:announce|ok)/s (\d+)", done.stdout).group(1))
