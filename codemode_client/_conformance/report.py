"""What was found out about a host, for a person to read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from codemode_client._conformance.findings import Finding

SHOWN_LINES = 60
"""As many of the last lines of a transcript are shown."""

SHOWN_CHARACTERS = 200
"""As much of each of them is shown."""


def lines_of(finding: Finding, width: int) -> Iterator[str]:
    """Return the lines about a finding.

    Args:
        finding: What came of a conversation.
        width: Of the longest name.
    """
    told = finding.note if finding.outcome != "differs" else finding.proves
    yield f"{finding.outcome:<9}  {finding.name:<{width}}  {told}".rstrip()
    if finding.outcome != "differs":
        return
    yield f"    rule      {finding.rule}"
    if finding.note:
        yield f"    again     with {finding.note}"
    yield from _indented("expected", finding.expected)
    yield from _indented("came", finding.came)
    if finding.transcript:
        left_out = len(finding.transcript) - SHOWN_LINES
        yield "    what was said" + (f", without its first {left_out} messages" if left_out > 0 else "")
        for line in finding.transcript[-SHOWN_LINES:]:
            yield "      " + (line if len(line) <= SHOWN_CHARACTERS else f"{line[:SHOWN_CHARACTERS]}…")


def summary(findings: Sequence[Finding]) -> str:
    """Return one line about all findings."""
    counts = Counter(finding.outcome for finding in findings)
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in ("ok", "differs", "not tried") if counts[outcome])


def _indented(word: str, text: str) -> Iterator[str]:
    first, *rest = text.splitlines() or [""]
    yield f"    {word:<8}  {first}"
    yield from (f"    {'':<8}  {line}" for line in rest)
