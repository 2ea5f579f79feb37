"""Our load generator beside a second one in C (Benchmarks/limits/announce_load.c), which knows nothing of it: ours must not
flatter, and must not be the slower one."""

import dataclasses
import json
import subprocess

from .. import build, load, machine, systems
from ..findings import Row, Target


@dataclasses.dataclass(frozen=True)
class Generators:
    """The two in turn on the same tracker."""
    transport: str
    mode: str
    options: tuple = ()

    def __call__(self, bench, findings):
        program = build.c_program("announce_load")
        seconds = 0.75 * bench.seconds
        with systems.ours(bench.folder, http=True) as tracker:
            load.fill(tracker, *load.POPULATION)
            for number in range(bench.rounds):
                theirs = self.run_c(program, tracker, seconds)
                ours = load.run(self.transport, tracker, "--seconds", seconds, *load.POPULATION, *self.options)
                findings.figure("in C").add(theirs["replies_per_second"], **theirs)
                findings.figure("ours").add(ours["replies_per_second"], ours["cpu_us_per_reply"], **ours)
                bench.say(f"  {findings.row.name} round {number + 1}: {ours['replies_per_second']:,.0f}, "
                          f"in C {theirs['replies_per_second']:,.0f}")
        # A tracker that still has time to spare under our load had more under the C program's: that was the limit.
        share = findings.figures["ours"].median_of("cpu_share")
        if findings.ratio > findings.row.target.upper and share / findings.ratio < 0.9:
            findings.excuse = "the one in C is the limit"
            findings.notes.append(f"the tracker's core was busy {share:.0%} under our load")

    def run_c(self, program, tracker, seconds):
        done = subprocess.run(["taskset", "-c", machine.LOAD_CORE, program, self.mode, str(tracker.port), str(seconds)],
                              capture_output=True, text=True, timeout=load.PATIENCE_SECONDS)
        if done.returncode != 0:
            raise machine.BenchError(f"announce_load {self.mode}: {done.stderr.strip()}")
        found = json.loads(done.stdout)
        if found["errors"]:
            raise machine.BenchError(f"announce_load {self.mode}: {found['errors']} errors")
        return found


WITHIN = Target(lower=0.95, upper=1.05)
ROWS = [
    Row(f"generator-{mode}", f"our load generator beside one in C, {what}: replies of the same tracker", "replies/s",
        WITHIN, Generators(transport, mode, options), beside="in C")
    for mode, what, transport, options in (
        ("udp", "UDP", "udp", ("--window", 16)),
        ("keep-alive", "HTTP over kept connections", "http", ("--keep-alive",)),
        ("close", "HTTP with a connection each", "http", ()))
]
