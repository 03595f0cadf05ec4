"""The file with the reference host's answers: `{"reference": …, "answers": {id: {"case": digest, "answer": …}}}`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.interop.differential.cases import Case

RECORDED = Path(__file__).resolve().parents[1] / "recorded.json"

LONG = 300
"""Texts that are longer than this many characters are kept as their length and digest."""


class NotRecorded(AssertionError):
    """The recording does not have this case, or has it as it was before it was changed."""


@dataclass(frozen=True)
class Recording:
    """All recorded answers."""

    entries: Mapping[str, Mapping[str, Any]]

    @classmethod
    def load(cls) -> Self:
        """Read the file. Raises FileNotFoundError."""
        return cls(json.loads(RECORDED.read_text("utf-8"))["answers"])

    def answer(self, case_id: str, case: Case) -> Any:
        """The reference's answer to a case, shortened. Raises NotRecorded."""
        entry = self.entries.get(case_id)
        if entry is None or entry["case"] != case.digest():
            raise NotRecorded(
                f"{case_id} is not recorded as it is now: python tests/interop/record.py --only {case_id}"
            )
        return entry["answer"]


def shortened(value: Any) -> Any:
    """An answer with its long texts replaced by length and digest: equal answers stay equal, the file stays small."""
    match value:
        case str() if len(value) > LONG:
            digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:16]
            return f"{value[:40]}… ({len(value)} characters, {digest})"
        case {"failure": _}:
            return value
        case ["result", items, error]:
            # Error texts are compared by their parts, so they stay whole.
            return ["result", shortened(items), error]
        case list() if len(value) > LONG:
            digest = hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]
            return [*[shortened(item) for item in value[:3]], f"… ({len(value)} items, {digest})"]
        case list():
            return [shortened(item) for item in value]
        case dict():
            return {key: shortened(item) for key, item in value.items()}
        case _:
            return value


def write(reference: Mapping[str, str], entries: Mapping[str, Any]) -> None:
    """Write the file anew, one line for each case."""
    lines = [
        f"    {json.dumps(case_id)}: {json.dumps(shortened(entry), ensure_ascii=True)}"
        for case_id, entry in entries.items()
    ]
    head = json.dumps(dict(reference))
    RECORDED.write_text(
        "{\n" + f'  "reference": {head},\n  "answers": {{\n' + ",\n".join(lines) + "\n  }\n}\n", encoding="utf-8"
    )
