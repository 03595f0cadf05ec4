"""The output memory's reader, against memory that this file writes as the prelude does, and as it never would."""

from __future__ import annotations

import mmap
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codemode_host.runtimes import link
from codemode_host.runtimes.host_side.output import LinkError, OutputReader
from codemode_protocol.values import ImageDetail, InputAudio, InputImage, InputText


class Writer:
    """Writes records into an output memory."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, link.OUTPUT_BYTES)
        self.memory[link.STARTED] = 1
        self.at = link.OUTPUT_START

    def record(self, kind: int, data: bytes, *, more: bool = False) -> int:
        header = len(data) | kind << link.RECORD_KIND_SHIFT | (link.RECORD_MORE if more else 0)
        padded = struct.pack("<I", header) + data + b"\0" * (-len(data) % 4)
        self.memory[self.at : self.at + len(padded)] = padded
        self.at += len(padded)
        self.memory[:4] = struct.pack("<I", self.at)
        return self.at

    def text(self, text: str) -> int:
        latin1 = all(ord(character) < 256 for character in text)
        data = text.encode("latin-1" if latin1 else "utf-16-le")
        return self.record(link.TEXT_LATIN1 if latin1 else link.TEXT_UTF16, data)


@given(st.lists(st.text(max_size=50), max_size=30), st.integers(0, 30))
def test_items_come_out_in_order_and_once_however_the_reads_are_cut(texts: list[str], cut: int) -> None:
    writer = Writer()
    reader = OutputReader(writer.memory)
    ends = [writer.text(text) for text in texts]
    taken = reader.take(ends[cut]) if cut < len(ends) else []
    taken += reader.take(reader.written)
    taken += reader.take(reader.written)
    assert taken == [InputText(text) for text in texts]


def test_an_item_in_pieces_is_joined_before_it_is_decoded() -> None:
    writer = Writer()
    reader = OutputReader(writer.memory)
    text = "a😀b" * 1000
    data = text.encode("utf-16-le")
    writer.record(link.TEXT_UTF16, data[:4099], more=True)
    assert reader.take(reader.written) == []
    writer.record(link.TEXT_UTF16, data[4099:])
    assert reader.take(reader.written) == [InputText(text)]


def test_a_rewound_memory_is_read_from_its_beginning() -> None:
    writer = Writer()
    reader = OutputReader(writer.memory)
    reader.take(writer.text("first"))
    reader.rewind()
    writer.at = link.OUTPUT_START
    assert reader.take(writer.text("second")) == [InputText("second")]


def test_images_carry_their_detail_or_none() -> None:
    writer = Writer()
    reader = OutputReader(writer.memory)
    writer.record(link.IMAGE_LATIN1, b'{"image_url":"data:x","detail":"low"}')
    writer.record(link.IMAGE_UTF16, '{"image_url":"data:€"}'.encode("utf-16-le"))
    assert reader.take(reader.written) == [InputImage("data:x", ImageDetail.LOW), InputImage("data:€")]


def test_sounds_are_their_urls() -> None:
    writer = Writer()
    reader = OutputReader(writer.memory)
    writer.record(link.AUDIO_LATIN1, "data:é".encode("latin-1"))
    writer.record(link.AUDIO_UTF16, "data:€".encode("utf-16-le"))
    assert reader.take(reader.written) == [InputAudio("data:é"), InputAudio("data:€")]


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (6, b""),
        (7, b""),
        (link.AUDIO_UTF16, b"\x00\xd8"),
        (link.TEXT_UTF16, b"\x00\xd8"),
        (link.TEXT_UTF16, b"a"),
        (link.IMAGE_LATIN1, b"not json"),
        (link.IMAGE_LATIN1, b'{"image_url":1}'),
        (link.IMAGE_LATIN1, b'{"image_url":"data:x","detail":"huge"}'),
    ],
)
def test_a_record_that_cannot_be_decoded_is_a_broken_link(kind: int, data: bytes) -> None:
    writer = Writer()
    reader = OutputReader(writer.memory)
    end = writer.record(kind, data)
    with pytest.raises(LinkError):
        reader.take(end)


def test_an_end_outside_the_memory_is_a_broken_link() -> None:
    with pytest.raises(LinkError, match="written up to"):
        OutputReader(Writer().memory).take(link.OUTPUT_BYTES + 1)


def test_what_was_written_before_the_script_ran_is_nobodys() -> None:
    writer = Writer()
    reader = OutputReader(writer.memory)
    writer.memory[link.STARTED] = 0
    writer.text("a rehearsal")
    assert reader.take(reader.written) == []


def test_an_end_that_was_read_already_is_an_old_one() -> None:
    writer = Writer()
    reader = OutputReader(writer.memory)
    first = writer.text("first")
    writer.text("second")
    assert reader.take(reader.written) == [InputText("first"), InputText("second")]
    assert reader.take(first) == []


def test_a_record_that_reaches_over_the_end_is_a_broken_link() -> None:
    writer = Writer()
    writer.text("some text")
    with pytest.raises(LinkError, match="reaches over"):
        OutputReader(writer.memory).take(writer.at - 8)


@given(st.binary(max_size=200))
def test_any_content_gives_items_or_a_broken_link(content: bytes) -> None:
    memory = mmap.mmap(-1, link.OUTPUT_BYTES)
    memory[link.OUTPUT_START : link.OUTPUT_START + len(content)] = content
    try:
        items = OutputReader(memory).take(link.OUTPUT_START + len(content))
    except LinkError:
        return
    assert all(isinstance(item, InputText | InputImage | InputAudio) for item in items)
