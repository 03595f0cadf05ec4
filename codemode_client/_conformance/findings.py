"""What was found out about a host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from codemode_protocol.testing import Differs

Outcome = Literal["ok", "differs", "not tried"]


@dataclass(frozen=True)
class Finding:
    """What came of one conversation, or of those at random."""

    name: str
    outcome: Outcome
    proves: str
    rule: str
    note: str = ""
    """Why it was not tried, or how the same conversations can be had again."""
    expected: str = ""
    came: str = ""
    transcript: tuple[str, ...] = ()

    def differing(self, differs: Differs, note: str = "") -> Finding:
        """Return the finding that a host differs here."""
        return Finding(
            self.name,
            "differs",
            self.proves,
            self.rule,
            note or self.note,
            differs.expected,
            differs.came,
            tuple(differs.transcript),
        )

    def not_tried(self, why: str) -> Finding:
        """Return the finding that it was not tried."""
        return Finding(self.name, "not tried", self.proves, self.rule, why)

    def as_json(self) -> Mapping[str, Any]:
        """Return the finding as JSON."""
        told: dict[str, Any] = {
            "name": self.name,
            "outcome": self.outcome,
            "proves": self.proves,
            "rule": self.rule,
            "note": self.note or None,
        }
        if self.outcome == "differs":
            told |= {"expected": self.expected, "came": self.came, "transcript": list(self.transcript)}
        return told
