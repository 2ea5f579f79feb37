"""Builds what only single rows need, into .build: the C programs of Benchmarks/limits, and the push benchmark."""

import os
import shutil
import subprocess

from . import machine, systems

# A build of its own: the release build with what @testable needs.
_SCRATCH = systems.ROOT / ".build" / "bench"
_TESTABLE = ["-c", "release", "-Xswiftc", "-enable-testing", "--scratch-path", str(_SCRATCH)]


def c_program(name, *libraries):
    """The path of the program made of Benchmarks/limits/NAME.c."""
    compiler = next((found for found in map(shutil.which, ("cc", "clang", "gcc")) if found), None)
    if compiler is None:
        raise machine.NotRun("no C compiler")
    source = systems.FOLDER / "limits" / f"{name}.c"
    binary = systems.ROOT / ".build" / "limits" / name
    if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
        binary.parent.mkdir(parents=True, exist_ok=True)
        _run([compiler, "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(binary), str(source), *libraries])
    return binary


def push_benchmark(say):
    """The command that runs Benchmarks/PushBenchmark."""
    if shutil.which("swift") is None:
        raise machine.NotRun("no Swift toolchain")
    say(f"  building the push benchmark into {_SCRATCH}")
    _run(["swift", "build", *_TESTABLE, "--build-tests"])
    return ["swift", "test", *_TESTABLE, "--skip-build", "--disable-xctest", "--filter", "PushBenchmark"]


def _run(command):
    # `make` sets the variable; without it SwiftPM only warns about a flag in Debian's hiredis.pc.
    copies = str(systems.ROOT / ".build" / "pkg-config")
    environment = {"PKG_CONFIG_PATH": copies, "ONLY_TESTS": "PushBenchmark", **os.environ}
    done = subprocess.run(command, cwd=systems.ROOT, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise machine.BenchError(f"{' '.join(command)}:\n{(done.stdout + done.stderr)[-4000:]}")
