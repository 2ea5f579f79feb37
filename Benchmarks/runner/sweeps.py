"""`make bench-long`: one setting varied at a time, ours beside each peer that can do it. Nothing is judged."""

from . import load, machine, rows, systems


def sweep(bench, name, work, unit, points, key="replies_per_second"):
    """points: label -> list of (system, start, transport, fill options or None, load options)."""
    row = rows.Row(name, work, "none: a sweep", unit)
    for label, contenders in points.items():
        cells = []
        for system, start, transport, fill, options in contenders:
            with start() as tracker:
                if fill is not None:
                    load.fill(tracker, *fill)
                result = load.run(transport, tracker, "--seconds", bench.seconds, *options, may_lose=True)
            row.figures[f"{label}, {system}"] = {"median": result[key], "rounds": [result]}
            cells.append(f"{system} {result['replies_per_second']:,.0f}/s, {result.get('cpu_us_per_reply', 0):.2f} us CPU, "
                         f"{result['peers_per_reply']:.0f} peers, p99 {result['latency_p99_us'] / 1000:.2f} ms")
        row.notes.append(f"{label}: {'; '.join(cells)}")
        bench.say(f"  {row.notes[-1]}")
    return row


def contenders(bench, feature, transport, fill, options, **settings):
    """Ours and every peer with the feature, for one point of a sweep."""
    found = [("ours", lambda: systems.ours(bench.folder, http=True, **settings), transport, fill, options)]
    for name, adapter in bench.peers.items():
        if feature in adapter.FEATURES:
            found.append((name, lambda adapter=adapter: adapter.start(bench.folder), transport, fill, options))
    return found


def connections(bench):
    points = {}
    for count in (1, 16, 64, 256, 1024, 4096):
        options = [*rows.POPULATION, "--connections", count]
        points[f"a connection each, {count} at a time"] = contenders(bench, "http", "http", rows.POPULATION, options)
        points[f"keep-alive, {count} connections"] = contenders(
            bench, "keep-alive", "http", rows.POPULATION, [*options, "--keep-alive"])
    for depth in (4, 16):
        points[f"keep-alive, 64 connections, {depth} requests in flight on each"] = contenders(
            bench, "keep-alive", "http", rows.POPULATION, [*rows.POPULATION, "--keep-alive", "--pipeline", depth])
    return sweep(bench, "connections", "HTTP announce by connections", "replies/s", points)


def swarm_sizes(bench):
    points = {}
    # Not below 50: the 16 peers of one number, one for each socket, always share a swarm (PeerPlan).
    for torrents, peers in ((2000, 100_000), (1000, 100_000), (100, 100_000), (10, 100_000), (1, 100_000)):
        population = ["--torrents", torrents, "--peers", peers, "--unique-ports"]
        points[f"{torrents:,} swarms of {peers // torrents:,}"] = contenders(bench, "udp", "udp", population, population)
    return sweep(bench, "swarm-sizes", "UDP announce by swarm size", "replies/s", points)


def numwants(bench):
    points = {}
    for numwant in (0, 10, 30, 50, 100, 200):
        population = ["--torrents", 250, "--peers", 100_000]
        points[f"{numwant} peers wanted"] = contenders(
            bench, "udp", "udp", population, [*population, "--numwant", numwant])
    return sweep(bench, "numwants", "UDP announce by peers wanted", "replies/s", points)


def families(bench):
    points = {}
    for host in ("127.0.0.1", "::1"):
        start = lambda host=host: systems.ours(bench.folder, http=True, host=host)  # noqa: E731
        for transport, options in (("udp", []), ("http", ["--keep-alive"])):
            points[f"{transport} over {'IPv6' if ':' in host else 'IPv4'}"] = [
                ("ours", start, transport, rows.POPULATION, [*rows.POPULATION, *options])]
    return sweep(bench, "families", "announce by address family", "replies/s", points)


def cores(bench):
    points = {}
    for transport, options in (("udp", []), ("http", ["--keep-alive"])):
        for workers, pinned in ((1, machine.TRACKER_CORE), (2, machine.TRACKER_CORE), (2, machine.BOTH_CORES)):
            start = lambda workers=workers, pinned=pinned: systems.ours(  # noqa: E731
                bench.folder, http=True, workers=workers, cores=pinned)
            points[f"{transport}, {workers} workers on core {pinned}"] = [
                ("ours", start, transport, rows.POPULATION, [*rows.POPULATION, *options])]
    return sweep(bench, "cores", "announce by workers and cores; the generator is on core 1", "replies/s", points)


SWEEPS = {
    "connections": connections, "swarm-sizes": swarm_sizes, "numwants": numwants, "families": families, "cores": cores,
}
