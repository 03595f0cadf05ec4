"""Reading a cell's output memory. The layout is in `link`; the writer is the prelude."""

from __future__ import annotations

import mmap

import msgspec
from msgspec import Struct

from codemode_protocol.values import ContentItem, ImageDetail, InputImage, InputText

from . import link


class LinkError(Exception):
    """A runtime broke the link's rules: nothing that it says can be trusted any more."""


class _Image(Struct, forbid_unknown_fields=True):
    image_url: str
    detail: ImageDetail | msgspec.UnsetType = msgspec.UNSET


_image_decoder = msgspec.json.Decoder(_Image)


class OutputReader:
    """Takes complete records out of the memory, in order, each exactly once.

    The memory's content is the cell's to write, so everything in it is checked; LinkError is what a lie costs.
    """

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self._at = link.OUTPUT_START
        self._partial: list[bytes] = []

    @property
    def written(self) -> int:
        """How far the cell says that it has written, right now."""
        return int.from_bytes(self._memory[:4], "little") or link.OUTPUT_START

    def rewind(self) -> None:
        """The cell, which waits for this, starts again at the beginning of the memory."""
        self._memory[:4] = link.OUTPUT_START.to_bytes(4, "little")
        self._at = link.OUTPUT_START

    def take(self, end: int) -> list[ContentItem]:
        """The items completed since the last call, up to offset `end`."""
        at = self._at
        if end == at or end == 0:
            return []
        if not at < end <= link.OUTPUT_BYTES:
            raise LinkError(f"output memory written up to {end}, read up to {at}")
        data = self._memory[at:end]
        items: list[ContentItem] = []
        position, size = 0, len(data)
        try:
            while position < size:
                header = int.from_bytes(data[position : position + 4], "little")
                start = position + 4
                stop = start + (header & link.RECORD_LENGTH_MASK)
                if stop > size:
                    raise LinkError(f"output record of {stop - start} bytes reaches over the end of what was written")
                position = (stop + 3) & ~3
                piece = data[start:stop]
                if header & link.RECORD_MORE:
                    self._partial.append(piece)
                    continue
                if self._partial:
                    piece = b"".join((*self._partial, piece))
                    self._partial.clear()
                kind = (header >> link.RECORD_KIND_SHIFT) & link.RECORD_KIND_MASK
                if kind == link.TEXT_LATIN1:
                    items.append(InputText(piece.decode("latin-1")))
                elif kind == link.TEXT_UTF16:
                    items.append(InputText(piece.decode("utf-16-le")))
                else:
                    items.append(_image(kind, piece))
        except (UnicodeDecodeError, msgspec.DecodeError) as error:
            raise LinkError(f"output record cannot be decoded: {error}") from error
        self._at = end
        return items


def _image(kind: int, piece: bytes) -> InputImage:
    if kind not in (link.IMAGE_LATIN1, link.IMAGE_UTF16):
        raise LinkError(f"output record of unknown kind {kind}")
    image = _image_decoder.decode(piece.decode("latin-1" if kind == link.IMAGE_LATIN1 else "utf-16-le"))
    return InputImage(image.image_url, image.detail)
