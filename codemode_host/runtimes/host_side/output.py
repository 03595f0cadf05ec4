"""A cell's output: read from the memory that it writes to, and kept, within limits, until it is taken.

The memory's layout is in `link`; the writer is the prelude.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from typing import cast

import msgspec
from msgspec import Raw, Struct

from codemode_host.runtimes import link
from codemode_protocol.limits import ITEM_JSON_TOO_LARGE, ITEM_TOO_LARGE, MAX_ITEM_JSON_BYTES, MIB, Limits
from codemode_protocol.values import ContentItem, ImageDetail, InputAudio, InputImage, InputText

MAX_ITEM_BYTES = 24 * 1024 * 1024
"""The largest text or image, as it lies in the memory: one byte a character, two if one of them is beyond Latin-1."""

ANSWER_BYTES = 32 * 1024 * 1024
"""When the JSON of the buffered items takes more than this the cell has to wait. With one more filling of the output
memory, one item of the largest size and an error text it still fits in a frame."""

# An item's own objects, and what its JSON has besides its characters.
_ITEM_OVERHEAD = 112
_JSON_OVERHEAD = 64
# A character takes six bytes of JSON at most: \u0000.
_JSON_EXPANSION = 6

# What one filling of the output memory adds to the bound, with not too many items.
_FILLING = link.OUTPUT_BYTES * (_JSON_EXPANSION + 1)

LEAST_OUTPUT_BYTES = 4 * MIB
"""So much output each cell may hold, however much its session and all others hold."""

WORTH_GIVING_BACK_BYTES = 8 * MIB
"""After so much output was held at a time, what is free again is given back to the system."""


class ItemTooLargeError(Exception):
    """A text or an image is larger than `MAX_ITEM_BYTES`."""


class LinkError(Exception):
    """A runtime broke the link's rules: nothing that it says can be trusted any more."""


class _Image(Struct, forbid_unknown_fields=True):
    image_url: str
    detail: ImageDetail | msgspec.UnsetType = msgspec.UNSET


_image_decoder = msgspec.json.Decoder(_Image)
_encode = msgspec.json.Encoder().encode
_items_decoder = msgspec.json.Decoder(list[ContentItem])


class OutputReader:
    """Takes complete records out of the memory, in order, each exactly once.

    The memory's content is the cell's to write, so everything in it is checked; LinkError is raised for what is wrong.
    """

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self.position: int = link.OUTPUT_START
        """How far the memory has been read, an offset in bytes."""
        self._partial: list[bytes] = []
        self._items_since_rewind = 0
        self.partial_bytes: int = 0
        """What has been read of an item whose end is still to come."""
        self.partial_json_bytes: int = 0
        """What of such an item has been read, as JSON."""
        self.wide_bytes: int = 0
        """How much of what has been read has two bytes a character; in Python it may take four."""

    @property
    def written(self) -> int:
        """How far the cell says that it has written, right now."""
        if not self._memory[link.STARTED]:
            return link.OUTPUT_START
        return int.from_bytes(self._memory[:4], "little") or link.OUTPUT_START

    def rewind(self) -> None:
        """Have the cell, which waits for this, start again at the beginning of the memory."""
        self._memory[:4] = link.OUTPUT_START.to_bytes(4, "little")
        self.position = link.OUTPUT_START
        self._items_since_rewind = 0

    def take(self, end: int) -> list[ContentItem]:
        """Return the items completed since the last call, up to offset `end`.

        An end that lies before what was read already is an old one: a frame may come after the memory was looked at.
        """
        at = self.position
        if end <= at:
            return []
        if end > link.OUTPUT_BYTES or end & 3:
            raise LinkError(f"output memory written up to {end}, read up to {at}")
        data = self._memory[at:end]
        headers = memoryview(data).cast("I")
        texts = data.decode("latin-1")  # of its slices, those that are Latin-1 text are what they say
        items: list[ContentItem] = []
        position, size = 0, len(data)
        try:
            while position < size:
                header = headers[position >> 2]
                start = position + 4
                stop = start + (header & link.RECORD_LENGTH_MASK)
                if stop > size:
                    raise LinkError(f"output record of {stop - start} bytes reaches over the end of what was written")
                position = (stop + 3) & ~3
                if header < _SHORT_LATIN1_TEXT and not self._partial:
                    items.append(InputText(texts[start:stop]))
                    continue
                self._partial.append(data[start:stop])
                self.partial_bytes += stop - start
                if header & _WIDE:
                    self.wide_bytes += stop - start
                if self.partial_bytes > MAX_ITEM_BYTES:
                    raise ItemTooLargeError(ITEM_TOO_LARGE(limit=MAX_ITEM_BYTES))
                if header & link.RECORD_MORE:
                    if stop - start < link.NO_PIECE_BELOW - 8:
                        raise LinkError(f"output record that goes on after {stop - start} bytes")
                    self.partial_json_bytes += _json_bytes(header, self._partial[-1])
                else:
                    items.append(_decode(header >> link.RECORD_KIND_SHIFT, b"".join(self._partial)))
                    self._partial.clear()
                    self.partial_bytes = self.partial_json_bytes = 0
        except (UnicodeDecodeError, msgspec.DecodeError) as error:
            raise LinkError(f"output record cannot be decoded: {error}") from error
        self.position = end
        self._items_since_rewind += len(items)
        if self._items_since_rewind > link.MAX_RECORDS:
            raise LinkError(f"{self._items_since_rewind} output records without a flush")
        return items


_WIDE = link.TEXT_UTF16 << link.RECORD_KIND_SHIFT

_SHORT_LATIN1_TEXT = 1 << link.RECORD_KIND_SHIFT
"""Headers below this are of Latin-1 texts in one piece."""


def _json_bytes(header: int, piece: bytes) -> int:
    """Return what a piece of an item takes in an answer, in bytes."""
    return len(_encode(piece.decode("utf-16-le", "replace") if header & _WIDE else piece.decode("latin-1")))


def _decode(kind: int, data: bytes) -> ContentItem:
    match kind:
        case link.TEXT_LATIN1:
            return InputText(data.decode("latin-1"))
        case link.TEXT_UTF16:
            return InputText(data.decode("utf-16-le"))
        case link.IMAGE_LATIN1 | link.IMAGE_UTF16:
            image = _image_decoder.decode(data.decode("latin-1" if kind == link.IMAGE_LATIN1 else "utf-16-le"))
            return InputImage(image.image_url, image.detail)
        case link.AUDIO_LATIN1 | link.AUDIO_UTF16:
            return InputAudio(data.decode("latin-1" if kind == link.AUDIO_LATIN1 else "utf-16-le"))
        case _:
            raise LinkError(f"output record of unknown kind {kind}")


class OutputBudget:
    """What all cells of a process may hold together of output that has not been taken.

    Each session has an `OutputShare` of it. Once the whole is used up, those that hold no more than an equal part go on
    as before, so that no session's output can hold up another's.
    """

    def __init__(self, limits: Limits, when_drained: Callable[[], None]) -> None:
        """Keep `limits`; `when_drained` is called when nothing is held any more after there was much."""
        self._limits = limits
        self._when_drained = when_drained
        self._held = 0
        self._peak = 0
        self._holding = 0
        """How many shares hold anything."""
        self._waiting: dict[OutputBuffer, None] = {}

    def share(self) -> OutputShare:
        """Return a new session's share."""
        return OutputShare(self)

    def allow(self, buffer: OutputBuffer, held: int) -> int:
        """Return how many bytes a full buffer of a share that holds so many may hold, and its cell go on.

        Its `when_room` is called once that may be more.
        """
        total = self._limits.total_output_bytes
        if self._held <= total or held <= total // max(self._holding, 1):
            return self._limits.output_bytes
        self._waiting[buffer] = None
        return LEAST_OUTPUT_BYTES

    def count(self, before: int, more: int) -> None:
        """Count so many bytes more, or less, of a share that held `before`."""
        self._held += more
        self._holding += (before + more > 0) - (before > 0)
        self._peak = max(self._peak, self._held)
        if self._held == 0 and self._peak > WORTH_GIVING_BACK_BYTES:
            self._peak = 0
            self._when_drained()
        if more < 0 and self._waiting:
            waiting, self._waiting = self._waiting, {}
            for buffer in waiting:
                buffer.when_room()  # which may have it wait again


class OutputShare:
    """What the cells of one session hold together."""

    def __init__(self, budget: OutputBudget) -> None:
        self._budget = budget
        self._held = 0

    def allow(self, buffer: OutputBuffer) -> int:
        """See `OutputBudget.allow`."""
        return self._budget.allow(buffer, self._held)

    def count(self, more: int) -> None:
        """Count so many bytes more, or less."""
        before = self._held
        self._held += more
        self._budget.count(before, more)  # last: who is told of room looks at what is held


class OutputBuffer:
    """What one cell wrote and nothing has taken yet: bounded in memory, and never more than fits in one answer.

    Counting is cheap where there is little and exact where there is much: an upper bound of what the answer will take
    is kept, from the number of bytes and items alone, and only when it says that the answer might grow too large are
    the items that came since encoded, to learn their size. That is done once: from then on their JSON stands for them.
    """

    def __init__(self, reader: OutputReader, share: OutputShare, when_room: Callable[[], None]) -> None:
        """Read from `reader`. `when_room` is called when a buffer that was full may be so no more."""
        self.when_room = when_room
        self.held: int = 0
        """What all of it takes in this process, in bytes, at most."""
        self._reader = reader
        self._share = share
        self._items: list[ContentItem | Raw] = []
        self._measured = 0  # of this many items the exact size is known
        self._exact = 0
        self._bound = 0  # of the others it is at most this, and of an unfinished one what there is
        self._overrun = False  # an item was too large: nothing is read after that

    def collect(self, end: int | None = None) -> None:
        """Read the output memory up to `end`, or as far as it is written.

        Raises:
            LinkError: What is written there is no output.
            ItemTooLargeError: After which there are only the items that came before.
        """
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
            self._bound += read * _JSON_EXPANSION + len(items) * _JSON_OVERHEAD
            more = read + reader.wide_bytes - wide + len(items) * _ITEM_OVERHEAD
            self.held += more
            self._share.count(more)
        if self._exact + self._bound > ANSWER_BYTES:
            self._measure()

    def rewind(self) -> None:
        """Have the cell start again at the beginning of the output memory, which has been read to its end."""
        self._reader.rewind()

    @property
    def full(self) -> bool:
        """Whether the cell has to wait until what there is has been taken."""
        if not self._items:
            return False
        return self.held > self._share.allow(self) or self._exact + self._bound > ANSWER_BYTES

    def take(self) -> list[ContentItem]:
        """Return all the items, and keep none: to be encoded, or `decoded`."""
        # Where Raw stands for items an encoder puts just what they are.
        items, self._items = cast("list[ContentItem]", self._items), []
        self._measured = self._exact = 0
        self._bound = self._reader.partial_json_bytes
        less = self.held - self._reader.partial_bytes
        if less:
            self.held -= less
            self._share.count(-less)
        return items

    def measure_ahead(self) -> None:
        """Measure before it is necessary, while the cell is at work on the next filling. Raises ItemTooLargeError."""
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


def decoded(items: list[ContentItem]) -> list[ContentItem]:
    """Return the items of a response as objects, for a reader in this process."""
    if not any(isinstance(item, Raw) for item in items):
        return items
    return _items_decoder.decode(_encode(items))
