"""Our tracker beside itself with other settings or another load: a row is a function that says which."""

import dataclasses
from collections.abc import Callable

from .. import load, machine, systems
from ..findings import Row, at_most
from ..measure import Contender, compare
from ..redis import Redis


@dataclasses.dataclass(frozen=True)
class Variants:
    """CPU time for a reply over UDP. `contenders(bench)`: name -> Contender."""
    contenders: Callable

    def __call__(self, bench, findings):
        compare(bench, findings, self.contenders(bench), "cpu_us_per_reply")


def two_workers(bench):
    # The second worker shares its core with the generator. The window keeps both workers' sockets full all the same: what
    # is compared is the price of sharing, not of waking up.
    options = [*load.POPULATION, "--window", 48]
    return {
        name: Contender(lambda workers=workers, cores=cores: systems.ours(bench.folder, workers=workers, cores=cores),
                        "udp", options, fill=load.POPULATION)
        for name, workers, cores in (("two", 2, machine.BOTH_CORES), ("one", 1, machine.TRACKER_CORE))}


def big_swarm(bench):
    swarms = {"a million": ["--torrents", 1, *load.MILLION], "100": ["--torrents", 1, "--peers", 100],
              "10,000 swarms of 100": ["--torrents", 10_000, *load.MILLION]}
    return {name: Contender(lambda: systems.ours(bench.folder), "udp", options, fill=[*options, "--numwant", 0])
            for name, options in swarms.items()}


@dataclasses.dataclass(frozen=True)
class PushBesideNone(Variants):
    """What the workers alone pay for the push: their threads' CPU time with it and without."""

    def __call__(self, bench, findings):
        with Redis(bench.folder) as redis:
            compare(bench, findings, self.contenders(bench, redis), "cpu_us_per_reply")


def push_workers(rate):
    def start_with(bench, redis):
        tracker = systems.ours(bench.folder, push=redis.url, push_options={"last_ttl": "1h"})
        # The worker has its core alone in both: a publisher beside it makes it wake up less often, for more at a time.
        machine.move_threads(tracker.pid, "publish", machine.LOAD_CORE)
        return tracker

    def contenders(bench, redis):
        announces = [*load.POPULATION, *load.passkeys(10_000)]
        options = [*announces, "--window", 16, "--pid-threads", "worker", *(["--rate", rate] if rate else [])]
        starts = {"with push": lambda: start_with(bench, redis), "without": lambda: systems.ours(bench.folder)}
        return {name: Contender(start, "udp", options, fill=announces, before=lambda: redis.call("FLUSHALL"))
                for name, start in starts.items()}
    return contenders


ROWS = [
    Row("two-workers", "two workers instead of one, saturated: CPU time per reply", "CPU us/reply", at_most(1.15),
        Variants(two_workers), ours="two", beside="one"),
    Row("big-swarm", "announce to a swarm of one million peers beside one of 100, and beside 10,000 of 100, which have the "
        "same million peers", "CPU us/announce", at_most(1.5), Variants(big_swarm), ours="a million", beside="100"),
    Row("push-workers", "UDP announce with passkey, no approval, saturated: CPU time of the worker threads with the traffic "
        "push and without", "CPU us/announce", at_most(1.15), PushBesideNone(push_workers(rate=0)),
        ours="with push", beside="without"),
    Row("push-workers-offered", "the same, offered 40,000/s", "CPU us/announce", at_most(1.15),
        PushBesideNone(push_workers(rate=40_000)), ours="with push", beside="without"),
]
