"""Announces beside opentracker: what differs from row to row is a line of the table at the end."""

import contextlib
import dataclasses

from .. import load, machine, systems
from ..findings import Row, at_least, at_most
from ..measure import Contender, alternate, running
from ..redis import Redis


@dataclasses.dataclass(frozen=True)
class Announces:
    """One load on ours and on every peer that can do it."""
    transport: str
    # Hooks of ours, and the passkeys in its announces that they need. The peers have neither.
    approval: bool = False
    push: bool = False
    # Ours keeps its connections; the peers get one for each announce.
    keep_alive: bool = False
    # Announces per second offered to ours and to the peers; 0 is as fast as it goes.
    rate: int = 0
    peer_rate: int = 0
    # Whether a server that only makes the system calls is measured as well.
    has_limit: bool = False

    def __call__(self, bench, findings):
        bench.require(findings.row.beside)
        with contextlib.ExitStack() as stack:
            redis = None
            if self.approval or self.push:
                redis = stack.enter_context(Redis(bench.folder))
                redis.add_passkeys()
            contenders = {"ours": self.ours(bench, redis)}
            for name, start in bench.peers_with(self.transport).items():
                contenders[name] = self.contender(start, load.POPULATION, self.peer_rate)
            trackers = stack.enter_context(running(contenders))
            alternate(bench, findings, contenders, trackers,
                      "cpu_us_per_reply" if self.rate else "replies_per_second")
            if self.push:
                check_delivery(findings, redis, trackers["ours"])
        if not self.rate:
            note_capacity(findings)
        if self.has_limit:
            compare_with_limit(bench, findings, self.transport,
                               [*load.POPULATION, *(["--keep-alive"] if self.keep_alive else [])])

    def ours(self, bench, redis):
        options = [*load.POPULATION]
        if redis:
            options += load.passkeys(systems.PASSKEYS)
        if self.keep_alive:
            options.append("--keep-alive")
        if self.push:
            options.append("--rising-counters")

        def start():
            return systems.ours(
                bench.folder, http=self.transport == "http", metrics=self.push,
                approval=redis.url if self.approval else None, push=redis.url if self.push else None)
        contender = self.contender(start, options, self.rate)
        return dataclasses.replace(contender, before=redis.clear_stream) if self.push else contender

    def contender(self, start, options, rate):
        is_udp = self.transport == "udp"
        return Contender(start, self.transport, options + (["--rate", rate] if rate else []),
                         fill=options if is_udp else None, warm_up=None if is_udp else options)


def check_delivery(findings, redis, tracker):
    """Whether Redis has kept up, and has everything: the figure is for delivering, not for piling up."""
    answered = findings.figures["ours"].rounds[-1]["announces_answered_ever"]
    backlog = tracker.metric("tracker_push_queue_depth")
    tracker.drain_queue(30)
    machine.wait_until(lambda: redis.stream()["announces"] >= answered, "the last batch is in the stream", 10, 0.1)
    found = redis.stream()
    findings.notes.append(
        f"of the last round {found['announces']:,} announces of {answered:,} are in the stream, as {found['entries']:,} "
        f"entries; {backlog:,.0f} waited when the load ended")


def note_capacity(findings):
    """Where the generator's core and not the tracker's is full, replies per second say little; CPU time does."""
    for name, figure in findings.figures.items():
        share = figure.median_of("cpu_share")
        if share < 0.95:
            findings.notes.append(f"the core of {name} was busy {share:.0%}: the generator is the limit")
    ours, beside = findings.figures["ours"], findings.figures[findings.beside]
    findings.notes.append(f"for a second of CPU time {beside.cpu / ours.cpu:.2f} x as many replies")


def compare_with_limit(bench, findings, transport, options):
    """What the generator and a server that only makes the system calls reach here. A target above it is out of reach on
    this machine; then 0.9 of it is enough."""
    figure = findings.figure("limit")
    with systems.echo(bench.folder, transport) as echo:
        for _ in range(bench.rounds):
            result = load.run(transport, echo, "--seconds", bench.seconds, *options)
            figure.add(result["replies_per_second"], result["cpu_us_per_reply"], **result)
    share = findings.figures["ours"].median / figure.median
    findings.notes.append(f"limit: an echo loop with the same system calls, its core busy "
                          f"{figure.median_of('cpu_share'):.0%}; ours is at {share:.2f} of it")
    target = findings.row.target.lower * findings.figures[findings.beside].median
    if findings.is_met is False and target > figure.median and share >= 0.9:
        findings.excuse = f"{share:.2f} of the machine's limit"


RATE, CPU = "replies/s", "CPU us/announce"
ROWS = [
    Row("udp-plain", "UDP announce, 50 peers a reply, no hooks, saturated", RATE, at_least(2.0),
        Announces("udp", has_limit=True)),
    Row("udp-approval", "UDP announce with passkey (BEP 41) and approval, saturated; opentracker does neither", RATE,
        at_least(1.6), Announces("udp", approval=True)),
    Row("udp-push", "UDP announce with passkey, approval and traffic push, offered 40,000/s to both: CPU time of all threads "
        "of the tracker", CPU, at_most(0.6), Announces("udp", approval=True, push=True, rate=40_000, peer_rate=40_000)),
    Row("http-close", "HTTP announce, a connection each, saturated", RATE, at_least(1.2),
        Announces("http", has_limit=True)),
    Row("http-keep-alive", "HTTP announce, keep-alive, 64 connections, passkey and approval, saturated; opentracker with a "
        "connection each", RATE, at_least(2.5), Announces("http", approval=True, keep_alive=True, has_limit=True)),
    Row("http-push", "HTTP announce, keep-alive, passkey, approval and push, offered 20,000/s: CPU time of all threads; "
        "opentracker with a connection each, 10,000/s", CPU, at_most(0.5),
        Announces("http", approval=True, push=True, keep_alive=True, rate=20_000, peer_rate=10_000)),
]
