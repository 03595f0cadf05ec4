"""Reading a cell's output memory. The layout is in `link`; the writer is the prelude."""

from __future__ import annotations

import mmap

import msgspec
from msgspec import Struct

from codemode_host.runtimes import link
from codemode_protocol.limits import ITEM_TOO_LARGE
from codemode_protocol.values import ContentItem, ImageDetail, InputAudio, InputImage, InputText

MAX_ITEM_BYTES = 24 * 1024 * 1024
"""The largest text or image, as it lies in the memory: one byte a character, two if one of them is beyond Latin-1."""


class ItemTooLargeError(Exception):
    """A text or an image is larger than `MAX_ITEM_BYTES`."""


class LinkError(Exception):
    """A runtime broke the link's rules: nothing that it says can be trusted any more."""


class _Image(Struct, forbid_unknown_fields=True):
    image_url: str
    detail: ImageDetail | msgspec.UnsetType = msgspec.UNSET


_image_decoder = msgspec.json.Decoder(_Image)
_encode = msgspec.json.Encoder().encode


class OutputReader:
    """Takes complete records out of the memory, in order, each exactly once.

    The memory's content is the cell's to write, so everything in it is checked; LinkError is what a lie costs.
    """

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self.position: int = link.OUTPUT_START
        """How far the memory has been read, an offset in bytes."""
        self._partial: list[bytes] = []
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
        """The cell, which waits for this, starts again at the beginning of the memory."""
        self._memory[:4] = link.OUTPUT_START.to_bytes(4, "little")
        self.position = link.OUTPUT_START

    def take(self, end: int) -> list[ContentItem]:
        """The items completed since the last call, up to offset `end`.

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
                    self.partial_json_bytes += _json_bytes(header, self._partial[-1])
                else:
                    items.append(_decode(header >> link.RECORD_KIND_SHIFT, b"".join(self._partial)))
                    self._partial.clear()
                    self.partial_bytes = self.partial_json_bytes = 0
        except (UnicodeDecodeError, msgspec.DecodeError) as error:
            raise LinkError(f"output record cannot be decoded: {error}") from error
        self.position = end
        return items


_WIDE = link.TEXT_UTF16 << link.RECORD_KIND_SHIFT

_SHORT_LATIN1_TEXT = 1 << link.RECORD_KIND_SHIFT
"""Headers below this are of Latin-1 texts in one piece."""


def _json_bytes(header: int, piece: bytes) -> int:
    """What a piece of an item takes in an answer."""
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
