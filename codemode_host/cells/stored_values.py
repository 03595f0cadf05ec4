"""What a session's cells store for each other."""

from __future__ import annotations

import msgspec

from codemode_protocol.limits import MIB, STORED_TOO_LARGE, TOO_MANY_STORED, Limits


class StoredValues:
    """JSON texts by key, bounded in number and size."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._values: dict[str, str] = {}
        self.as_json: bytes = b"{}"
        """All of them, as a new cell is handed them: a JSON object of JSON texts."""

    def commit(self, values: dict[str, str]) -> str | None:
        """Keep what a cell stored: all of it, or nothing, and return why."""
        merged = self._values | values
        if len(merged) > self._limits.stored_values:
            return TOO_MANY_STORED(limit=self._limits.stored_values)
        as_json = msgspec.json.encode(merged)
        if len(as_json) > self._limits.stored_bytes:
            return STORED_TOO_LARGE(limit=self._limits.stored_bytes // MIB)
        self._values, self.as_json = merged, as_json
        return None
