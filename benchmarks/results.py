"""What was measured, as data: samples by round, their medians, and how two hosts compare."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from benchmarks.cases import Case

OURS, REFERENCE = "ours", "reference"


@dataclass
class Samples:
    """The numbers that one host gave for one case, a list for each round; or why there are none."""

    rounds: list[list[float]] = field(default_factory=list)
    failure: str | None = None

    @property
    def all(self) -> list[float]:
        return [value for taken in self.rounds for value in taken]

    @property
    def median(self) -> float | None:
        return statistics.median(self.all) if self.failure is None and self.rounds else None

    @property
    def best(self) -> float | None:
        return min(self.all) if self.failure is None and self.rounds else None

    @property
    def spread(self) -> tuple[float, float] | None:
        """The lowest and the highest of the rounds' medians: how well the run repeats itself."""
        if self.failure is not None or not self.rounds:
            return None
        medians = [statistics.median(taken) for taken in self.rounds]
        return min(medians), max(medians)


@dataclass
class Row:
    """One case with the samples of each host, by the host's name."""

    case: Case
    hosts: dict[str, Samples] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """Ours / reference, of the medians."""
        return _ratio(self, "median")

    @property
    def best_ratio(self) -> float | None:
        """Ours / reference, of the best samples: what others on the machine disturb least."""
        return _ratio(self, "best")

    @property
    def verdict(self) -> str:
        """How the goal was met: "want", "must", "missed", or nothing where it cannot be told."""
        goal = self.case.goal
        if goal is None:
            return ""
        value = self.hosts[OURS].median if goal.absolute else self.ratio
        if value is None:
            return ""
        return "want" if value <= goal.want else "must" if value <= goal.must else "missed"

    def as_json(self) -> dict[str, object]:
        goal = self.case.goal
        return {
            "case": self.case.name,
            "unit": self.case.unit,
            "ratio": self.ratio,
            "best_ratio": self.best_ratio,
            "goal": None if goal is None else {"must": goal.must, "want": goal.want, "absolute": goal.absolute},
            "verdict": self.verdict or None,
            "hosts": {name: _as_json(samples) for name, samples in self.hosts.items()},
        }


def _ratio(row: Row, what: str) -> float | None:
    ours, reference = (row.hosts.get(name) for name in (OURS, REFERENCE))
    if ours is None or reference is None:
        return None
    above, below = getattr(ours, what), getattr(reference, what)
    return None if above is None or not below else above / below


def _as_json(samples: Samples) -> dict[str, object]:
    return {
        "median": samples.median,
        "spread": samples.spread,
        "best": samples.best,
        "failure": samples.failure,
        "rounds": samples.rounds,
    }
