"""The memory that a million peers take, whole process: a megabyte for a million peers is a byte a peer."""

from .. import load, systems
from ..findings import Row, limit


def measure(bench, findings):
    starts = {"ours": lambda: systems.ours(bench.folder), **bench.peers_with("udp")}
    for number in range(bench.rounds):
        for name, start in starts.items():
            with start() as tracker:
                before = tracker.resident()
                load.fill(tracker, "--torrents", 10_000, *load.MILLION, "--numwant", 0)
                after = tracker.resident()
            findings.figure(name).add(after / 1e6, growth=(after - before) / 1e6, at_start=before / 1e6)
            bench.say(f"  {findings.row.name} round {number + 1}: {name} {after / 1e6:.1f}")
    for name, figure in findings.figures.items():
        findings.notes.append(f"{name}: {figure.median_of('growth'):.1f} bytes without the "
                              f"{figure.median_of('at_start'):.0f} MB at start")


ROWS = [
    Row("memory", "one million IPv4 peers in 10,000 swarms announce once; VmRSS", "bytes/peer", limit(80), measure),
]
