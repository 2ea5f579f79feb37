"""What a row is, what it finds, and whether that meets the target."""

import dataclasses
import statistics
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Target:
    """Bounds of the ratio of ours to what is beside it, or of our figure alone."""
    lower: float | None = None
    upper: float | None = None
    of: str = "ratio"

    def is_met_by(self, value):
        return (self.lower is None or value >= self.lower) and (self.upper is None or value <= self.upper)

    def text(self, unit):
        what = "x" if self.of == "ratio" else unit
        if self.lower is not None and self.upper is not None:
            return f"{self.lower:g} to {self.upper:g} {what}"
        return f">= {self.lower:g} {what}" if self.upper is None else f"<= {self.upper:g} {what}"


def at_least(bound):
    """The ratio must reach this."""
    return Target(lower=bound)


def at_most(bound):
    """The ratio must not be above this."""
    return Target(upper=bound)


def limit(bound):
    """Our figure must not be above this."""
    return Target(upper=bound, of="ours")


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table. `measure(bench, findings)` puts figures into the findings; `ours` and `beside` are the names
    of the two that are compared, and `beside` may be None."""
    name: str
    work: str
    unit: str
    target: Target | None
    measure: Callable
    ours: str = "ours"
    beside: str | None = "opentracker"


@dataclasses.dataclass
class Figure:
    """One system's figure, a value for each round."""
    values: list = dataclasses.field(default_factory=list)
    # Microseconds of CPU time for a unit of work, where it is known.
    cpu_us: list = dataclasses.field(default_factory=list)
    # Everything that is known of each round, for the JSON.
    rounds: list = dataclasses.field(default_factory=list)

    def add(self, value, cpu_us=None, /, **details):
        self.values.append(value)
        if cpu_us is not None:
            self.cpu_us.append(cpu_us)
        self.rounds.append(details)

    @property
    def median(self):
        return statistics.median(self.values)

    @property
    def cpu(self):
        return statistics.median(self.cpu_us) if self.cpu_us else None

    def median_of(self, key):
        return statistics.median(found[key] for found in self.rounds)


class Findings:
    """What a row has found."""

    def __init__(self, row):
        self.row, self.ours, self.beside = row, row.ours, row.beside
        self.figures, self.notes = {}, []
        # What makes the row fail whatever its figures say, and what makes it pass when they do not suffice.
        self.problems, self.excuse = [], None
        self.not_run = None
        # The lines of a sweep, in place of one.
        self.points = []

    def point(self, label):
        """A line of its own for one setting of a sweep."""
        point = Findings(dataclasses.replace(self.row, name=f"{self.row.name}: {label}", work=""))
        self.points.append(point)
        return point

    def figure(self, name):
        return self.figures.setdefault(name, Figure())

    def ratios(self, ours, beside):
        """Ours by theirs, in each round: what ran within a minute belongs together on a machine that is shared."""
        mine, theirs = self.figures[ours], self.figures[beside]
        if len(mine.values) != len(theirs.values):
            return [mine.median / theirs.median]
        return [one / other for one, other in zip(mine.values, theirs.values)]

    @property
    def ratio(self):
        """The median of the rounds' ratios, or None where there is nothing to compare with."""
        if self.ours not in self.figures or self.beside not in self.figures:
            return None
        return statistics.median(self.ratios(self.ours, self.beside))

    @property
    def value(self):
        """What the target is about."""
        if self.row.target and self.row.target.of == "ours" and self.ours in self.figures:
            return self.figures[self.ours].median
        return self.ratio

    @property
    def is_met(self):
        """None where there is no target or no figure."""
        if self.problems:
            return False
        if self.not_run or not self.row.target or self.value is None:
            return None
        return self.excuse is not None or self.row.target.is_met_by(self.value)

    @property
    def verdict(self):
        """In a cell."""
        if self.not_run:
            return f"not run: {self.not_run}"
        if self.is_met is None:
            return "not judged"
        return "NO" if not self.is_met else f"yes: {self.excuse}" if self.excuse else "yes"

    def as_json(self):
        row = self.row
        return {
            "row": row.name, "work": row.work, "unit": row.unit, "ours": self.ours, "beside": self.beside,
            "target": row.target.text(row.unit) if row.target else None, "not_run": self.not_run, "ratio": self.ratio,
            "value": self.value, "met": self.is_met, "verdict": self.verdict, "problems": self.problems,
            "notes": self.notes,
            "figures": {
                name: {"median": found.median, "lowest": min(found.values), "highest": max(found.values),
                       "cpu_us": found.cpu, "values": found.values, "rounds": found.rounds}
                for name, found in self.figures.items()}}
