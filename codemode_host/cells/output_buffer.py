"""What a cell wrote and nobody has taken yet: bounded in memory, and never more than fits in one answer.

Counting is cheap where there is little and exact where there is much: an upper bound of what the answer will take is
kept, from the number of bytes and items alone, and only when it says that the answer might grow too large are the
items that came since encoded, to learn their size. That is done once: from then on their JSON stands for them.
"""

from __future__ import annotations

from typing import cast

import msgspec
from msgspec import Raw

from codemode_host.runtimes.host_side.output import ItemTooLargeError, OutputReader
from codemode_host.runtimes.link import OUTPUT_BYTES
from codemode_protocol.limits import ITEM_JSON_TOO_LARGE
from codemode_protocol.values import ContentItem

ANSWER_BYTES = 32 * 1024 * 1024
"""When the JSON of the buffered items takes more than this the cell has to wait. With one more filling of the output
memory, one item of the largest size and an error text it still fits in a frame."""

MAX_ITEM_JSON_BYTES = 44 * 1024 * 1024
"""The largest text or image, as JSON."""

# An item's own objects, and what its JSON has besides its characters.
_ITEM_OVERHEAD = 112
_JSON_OVERHEAD = 64
# A character takes six bytes of JSON at most: \u0000.
_JSON_EXPANSION = 6

# What one filling of the output memory adds to the bound, with not too many items.
_FILLING = OUTPUT_BYTES * (_JSON_EXPANSION + 1)

_encode = msgspec.json.Encoder().encode
_items_decoder = msgspec.json.Decoder(list[ContentItem])


def decoded(items: list[ContentItem]) -> list[ContentItem]:
    """The items of a response for who reads them here."""
    if not any(isinstance(item, Raw) for item in items):
        return items
    return _items_decoder.decode(_encode(items))


class OutputBuffer:
    """The items of one cell."""

    def __init__(self, reader: OutputReader) -> None:
        self._reader = reader
        self._items: list[ContentItem | Raw] = []
        self._measured = 0  # of this many items the exact size is known
        self._exact = 0
        self._bound = 0  # of the others it is at most this, and of an unfinished one what there is
        self._overrun = False  # an item was too large: nothing is read after that
        self.held: int = 0
        """What all of it takes in this process, in bytes, at most."""

    def collect(self, end: int | None = None) -> None:
        """Read the output memory up to `end`, or as far as it is written. Raises LinkError, ItemTooLargeError."""
        if self._overrun:
            return
        reader = self._reader
        before, wide = reader.position, reader.wide_bytes
        try:
            items = reader.take(reader.written if end is None else end)
        except ItemTooLargeError:
            self._overrun = True
            raise
        read = reader.position - before
        if read > 0:
            self._items += items
            self.held += read + reader.wide_bytes - wide + len(items) * _ITEM_OVERHEAD
            self._bound += read * _JSON_EXPANSION + len(items) * _JSON_OVERHEAD

    def rewind(self) -> None:
        """The output memory has been read to its end; the cell starts again at the beginning."""
        self._reader.rewind()

    def full(self, limit: int) -> bool:
        """Whether the cell has to wait until somebody takes what there is, `limit` being what it may hold."""
        return bool(self._items) and (self.held > limit or self._exact + self._bound > ANSWER_BYTES)

    def take(self) -> list[ContentItem]:
        """All the items, which are the taker's now: to be encoded, or `decoded`."""
        # Where Raw stands for items an encoder puts just what they are.
        items, self._items = cast("list[ContentItem]", self._items), []
        partial = self._reader.partial_bytes
        self._measured = self._exact = 0
        self._bound = self._reader.partial_json_bytes
        self.held = partial
        return items

    def measure(self) -> None:
        """Learn what the new items take, if they might be too much for one answer, and keep them as they go out.

        Raises ItemTooLargeError, after which there are only the items that came before.
        """
        if self._exact + self._bound > ANSWER_BYTES:
            self._measure()

    def measure_ahead(self) -> None:
        """Do it before it is necessary, for as long as the cell is at work on the next filling."""
        if self._bound > _FILLING and self._exact + self._bound + _FILLING > ANSWER_BYTES:
            self._measure()

    def _measure(self) -> None:
        new = self._items[self._measured :]
        size = len(encoded := _encode(new))
        if size > MAX_ITEM_JSON_BYTES:
            for item in new:
                if len(_encode(item)) > MAX_ITEM_JSON_BYTES:
                    self._items.remove(item)
                    raise ItemTooLargeError(ITEM_JSON_TOO_LARGE(limit=MAX_ITEM_JSON_BYTES))
        # Without its brackets: any number of items, in the place of one.
        self._items[self._measured :] = [Raw(memoryview(encoded)[1:-1])] if new else []
        self._exact += size
        self._measured = len(self._items)
        self._bound = self._reader.partial_json_bytes
