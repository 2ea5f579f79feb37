"""`make bench-long`: one setting varied at a time, ours beside each peer that can do it. Nothing is judged."""

import dataclasses
from collections.abc import Callable

from . import load, machine, systems
from .findings import Row
from .measure import Contender, compare


@dataclasses.dataclass(frozen=True)
class Sweep:
    """`points(bench)`: label -> {system: Contender}. Each point is a line of the table."""
    points: Callable

    def __call__(self, bench, findings):
        for label, contenders in self.points(bench).items():
            point = findings.point(label)
            compare(bench, point, contenders, "replies_per_second", rounds=1, may_lose=True)
            for name, figure in point.figures.items():
                point.notes.append(f"{name} {figure.median_of('peers_per_reply'):.0f} peers a reply, p99 "
                                   f"{figure.median_of('latency_p99_us') / 1000:.2f} ms")


def everyone(bench, feature, transport, fill, options):
    """Ours and every peer with the feature."""
    starts = {"ours": lambda: systems.ours(bench.folder, http=True), **bench.peers_with(feature)}
    return {name: Contender(start, transport, options, fill=fill) for name, start in starts.items()}


def connections(bench):
    points = {}
    for count in (1, 16, 64, 256, 1024, 4096):
        options = [*load.POPULATION, "--connections", count]
        points[f"a connection each, {count} at a time"] = everyone(bench, "http", "http", load.POPULATION, options)
        points[f"keep-alive, {count} connections"] = everyone(
            bench, "keep-alive", "http", load.POPULATION, [*options, "--keep-alive"])
    for depth in (4, 16):
        points[f"keep-alive, 64 connections, {depth} requests in flight on each"] = everyone(
            bench, "keep-alive", "http", load.POPULATION, [*load.POPULATION, "--keep-alive", "--pipeline", depth])
    return points


def swarm_sizes(bench):
    points = {}
    # Not below 50: the 16 peers of one number, one for each socket, always share a swarm (PeerPlan).
    for torrents in (2000, 1000, 100, 10, 1):
        population = ["--torrents", torrents, "--peers", 100_000, "--unique-ports"]
        points[f"{torrents:,} swarms of {100_000 // torrents:,}"] = everyone(bench, "udp", "udp", population, population)
    return points


def numwants(bench):
    population = ["--torrents", 250, "--peers", 100_000]
    return {f"{numwant} peers wanted": everyone(bench, "udp", "udp", population, [*population, "--numwant", numwant])
            for numwant in (0, 10, 30, 50, 100, 200)}


def alone(bench, label, **settings):
    """Ours over UDP and over kept connections."""
    return {f"{transport}, {label}": {"ours": Contender(
        lambda: systems.ours(bench.folder, http=True, **settings), transport, [*load.POPULATION, *options],
        fill=load.POPULATION)} for transport, options in (("udp", []), ("http", ["--keep-alive"]))}


def families(bench):
    return {**alone(bench, "IPv4", host="127.0.0.1"), **alone(bench, "IPv6", host="::1")}


def cores(bench):
    points = {}
    for workers, pinned in ((1, machine.TRACKER_CORE), (2, machine.TRACKER_CORE), (2, machine.BOTH_CORES)):
        points |= alone(bench, f"workers: {workers}, on core {pinned}", workers=workers, cores=pinned)
    return points


ALL = {row.name: row for row in (
    Row(name, work, "replies/s", None, Sweep(points)) for name, work, points in (
        ("connections", "HTTP announce by connections", connections),
        ("swarm-sizes", "UDP announce by swarm size", swarm_sizes),
        ("numwants", "UDP announce by peers wanted", numwants),
        ("families", "announce by address family", families),
        ("cores", "announce by workers and cores; the generator is on the second core", cores)))}
