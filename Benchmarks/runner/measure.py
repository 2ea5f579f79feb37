"""The shape that most rows share: systems that run side by side and are loaded in turn."""

import contextlib
import dataclasses
from collections.abc import Callable

from . import load, machine, systems


@dataclasses.dataclass(frozen=True)
class Contender:
    """A system, and its load."""
    start: Callable
    transport: str
    load: list
    # Announces every peer once over UDP, before the first round.
    fill: list | None = None
    # Two seconds of this before the first round.
    warm_up: list | None = None
    # Done before each round.
    before: Callable = staticmethod(lambda: None)


class Bench:
    """The settings of a run, and where it keeps its files."""

    def __init__(self, folder, rounds, seconds, say):
        self.folder, self.rounds, self.seconds, self.say = folder, rounds, seconds, say
        self.peers = systems.peers()

    def require(self, peer):
        """For a row that says nothing without this peer."""
        if peer not in self.peers:
            raise machine.NotRun(f"{peer} is not installed ({systems.install_hint(peer)})")

    def peers_with(self, feature):
        """The installed trackers that have a feature: name -> how to start one."""
        return {name: lambda adapter=adapter: adapter.start(self.folder) for name, adapter in self.peers.items()
                if feature in adapter.FEATURES}


@contextlib.contextmanager
def running(contenders):
    """Starts and fills them all; name -> tracker. Only the one that is loaded does anything afterwards."""
    with contextlib.ExitStack() as stack:
        trackers = {name: stack.enter_context(contender.start()) for name, contender in contenders.items()}
        for name, contender in contenders.items():
            if contender.fill is not None:
                load.fill(trackers[name], *contender.fill)
            if contender.warm_up is not None:
                load.run(contender.transport, trackers[name], "--seconds", 2, *contender.warm_up)
        yield trackers


def alternate(bench, findings, contenders, trackers, key, rounds=None, may_lose=False):
    """Loads the contenders in turn and puts a figure for each into the findings."""
    for number in range(rounds or bench.rounds):
        for name, contender in contenders.items():
            contender.before()
            result = load.run(contender.transport, trackers[name], "--seconds", bench.seconds, *contender.load,
                              may_lose=may_lose)
            findings.figure(name).add(result[key], result["cpu_us_per_reply"], **result)
            bench.say(f"  {findings.row.name} round {number + 1}: {name} {result[key]:,.2f} (peers "
                      f"{result['peers_per_reply']:.1f}, tracker's core {result['cpu_share']:.0%})")


def compare(bench, findings, contenders, key, **settings):
    """All of it, for a row that asks nothing else of its trackers."""
    with running(contenders) as trackers:
        alternate(bench, findings, contenders, trackers, key, **settings)
