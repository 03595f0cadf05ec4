"""Identifiers: which were used, and which comes next.

"Never used twice" must not cost memory for everything that ever was, so the used ones are kept as intervals:
numbers that are handed out in order are one interval, whatever their count. A peer that scatters them beyond a
limit is refused with `ScatteredIdsError` rather than remembered without bound, and rather than forgotten.
"""

from __future__ import annotations

from bisect import bisect_right
from hashlib import blake2b

from codemode_protocol.errors import ProtocolError

MIN_ID = -(2**63)
MAX_ID = 2**63 - 1
"""Request and delegate ids are signed 64-bit integers on the wire."""

MAX_INTERVALS = 65_536
"""How many separate intervals of used ids are remembered; about 8 MB when it is reached."""

MAX_NAMES = 16_384
"""How many scattered names are remembered; about 8 MB when it is reached."""

MAX_CELL_ID = 2**53 - 1
"""The last cell number: beyond it a reader with floating-point numbers could take two ids for one."""

_MAX_SUFFIX_DIGITS = 18  # what surely fits in a signed 64-bit integer
_MAX_PREFIX = 32  # longer prefixes are remembered by a digest of this many bytes


class ScatteredIdsError(ProtocolError):
    """Too many identifiers without an order: remembering them would grow without bound."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"identifiers too scattered: more than {limit} separate runs of them on one connection")
        self.limit = limit


class CellIdsExhaustedError(ProtocolError):
    """A session has handed out every cell id there is. Nothing was allocated; open a new session."""


class IdSet:
    """Which integers were used, as disjoint intervals in ascending order."""

    __slots__ = ("_ends", "_max_intervals", "_starts")

    def __init__(self, max_intervals: int = MAX_INTERVALS) -> None:
        self._starts: list[int] = []  # first member of each interval
        self._ends: list[int] = []  # one past the last member of each interval
        self._max_intervals = max_intervals

    def __contains__(self, number: int) -> bool:
        index = bisect_right(self._starts, number) - 1
        return index >= 0 and number < self._ends[index]

    def add(self, number: int) -> bool:
        """Mark `number` as used.

        Returns:
            False when it was used already.

        Raises:
            ScatteredIdsError: As many intervals are kept as may be. Nothing changed.
        """
        starts, ends = self._starts, self._ends
        if ends and number == ends[-1]:  # the next in order: by far the most frequent
            ends[-1] += 1
            return True
        index = bisect_right(starts, number)  # the interval before the number is index - 1, the one after it index
        if index and number < ends[index - 1]:
            return False
        joins_before = index > 0 and number == ends[index - 1]
        joins_after = index < len(starts) and number + 1 == starts[index]
        if joins_before and joins_after:
            ends[index - 1] = ends[index]
            del starts[index], ends[index]
        elif joins_before:
            ends[index - 1] += 1
        elif joins_after:
            starts[index] -= 1
        elif len(starts) >= self._max_intervals:
            raise ScatteredIdsError(self._max_intervals)
        else:
            starts.insert(index, number)
            ends.insert(index, number + 1)
        return True

    @property
    def runs(self) -> int:
        """How many intervals are kept."""
        return len(self._starts)

    @property
    def intervals(self) -> list[tuple[int, int]]:
        """The used ids as (first, last) pairs."""
        return [(start, end - 1) for start, end in zip(self._starts, self._ends, strict=True)]


class NameSet:
    """Which names were used. Names that differ in a trailing number alone ("s1", "s2", …) are kept as intervals."""

    def __init__(self, max_names: int = MAX_NAMES) -> None:
        self._max_names = max_names
        self._series: dict[str | bytes, IdSet] = {}
        self._size = 0  # intervals in all series

    def __contains__(self, name: str) -> bool:
        prefix, number = _split_name(name)
        series = self._series.get(prefix)
        return series is not None and number in series

    def add(self, name: str) -> bool:
        """Mark `name` as used. False when it was already; raises `ScatteredIdsError` at the limit, changing nothing."""
        prefix, number = _split_name(name)
        series = self._series.get(prefix)
        if series is not None and number in series:
            return False
        if not self.has_room_for(name):
            raise ScatteredIdsError(self._max_names)
        if series is None:
            series = self._series[prefix] = IdSet(self._max_names)
        before = series.runs
        series.add(number)
        self._size += series.runs - before
        return True

    def has_room_for(self, name: str) -> bool:
        """Return whether `add` would take this unused name.

        A full set takes only what comes right before or after a used one.
        """
        prefix, number = _split_name(name)
        series = self._series.get(prefix)
        return self._size < self._max_names or (series is not None and (number - 1 in series or number + 1 in series))

    def __len__(self) -> int:
        """How many intervals are kept."""
        return self._size


def _split_name(name: str) -> tuple[str | bytes, int]:
    """Return a name as prefix and trailing number; -1 where it has none that can be written in one way only."""
    prefix = name.rstrip("0123456789")
    digits = name[len(prefix) :]
    if not digits or len(digits) > _MAX_SUFFIX_DIGITS or (digits[0] == "0" and len(digits) > 1):
        prefix, number = name, -1
    else:
        number = int(digits)
    if len(prefix) <= _MAX_PREFIX:
        return prefix, number
    return blake2b(prefix.encode("utf-8", "surrogatepass"), digest_size=_MAX_PREFIX).digest(), number


def parse_cell_id(cell_id: str) -> int | None:
    """Return the number of a cell id as a host hands them out ("1", "2", …), None for any other text."""
    if not cell_id.isascii() or not cell_id.isdigit() or cell_id[0] == "0" or len(cell_id) > 16:
        return None
    number = int(cell_id)
    return number if number <= MAX_CELL_ID else None


class CellIds:
    """Hands out a session's cell ids: "1", "2", … up to `MAX_CELL_ID`."""

    def __init__(self, start: int = 1) -> None:
        self._next = start

    def allocate(self) -> str:
        """Return the next id.

        Raises:
            CellIdsExhaustedError: The last one was given already.
        """
        if self._next > MAX_CELL_ID:
            raise CellIdsExhaustedError(
                f"no cell id left after {MAX_CELL_ID}: cell ids are never reused, open a new session"
            )
        number = self._next
        self._next += 1
        return str(number)
