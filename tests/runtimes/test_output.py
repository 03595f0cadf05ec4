"""The output memory's reader, against memory that this file writes as the prelude does, and as it never would."""

from __future__ import annotations

import mmap

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codemode_host.runtimes import link
from codemode_host.runtimes.host_side.output import (
    ANSWER_BYTES,
    LEAST_OUTPUT_BYTES,
    MAX_ITEM_BYTES,
    ItemTooLargeError,
    LinkError,
    OutputBudget,
    OutputBuffer,
    OutputReader,
    OutputShare,
    decoded,
)
from codemode_protocol.limits import MIB, Limits
from codemode_protocol.values import ImageDetail, InputAudio, InputImage, InputText
from tests.runtimes.lying import Writer


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


@pytest.mark.parametrize(
    "end", [link.OUTPUT_BYTES + 1, link.OUTPUT_BYTES + 4, link.OUTPUT_START + 1, link.OUTPUT_START + 2, (1 << 32) - 4]
)
def test_an_end_outside_the_memory_or_between_words_is_a_broken_link(end: int) -> None:
    with pytest.raises(LinkError, match=f"written up to {end}, read up to {link.OUTPUT_START}"):
        OutputReader(Writer().memory).take(end)


def test_the_memory_may_be_written_to_its_last_byte() -> None:
    writer = Writer()
    end = writer.text("x" * (link.OUTPUT_BYTES - link.OUTPUT_START - 4))
    assert end == link.OUTPUT_BYTES
    (item,) = OutputReader(writer.memory).take(end)
    assert isinstance(item, InputText)
    assert len(item.text) == link.OUTPUT_BYTES - link.OUTPUT_START - 4


def test_more_records_than_may_come_without_a_flush_are_a_broken_link() -> None:
    writer = Writer()
    reader = OutputReader(writer.memory)
    for _ in range(link.MAX_RECORDS):
        writer.text("")
    assert len(reader.take(writer.at)) == link.MAX_RECORDS
    reader.rewind()
    writer.at = link.OUTPUT_START
    for _ in range(link.MAX_RECORDS):
        writer.text("")
    assert len(reader.take(writer.at)) == link.MAX_RECORDS
    with pytest.raises(LinkError, match=f"{link.MAX_RECORDS + 1} output records"):
        reader.take(writer.text(""))


@pytest.mark.parametrize(
    ("size", "whole"), [(link.NO_PIECE_BELOW - 8, True), (link.NO_PIECE_BELOW - 12, False), (0, False)]
)
def test_a_piece_that_is_shorter_than_any_that_is_worth_it_is_a_broken_link(size: int, whole: bool) -> None:
    writer = Writer()
    reader = OutputReader(writer.memory)
    end = writer.record(link.TEXT_LATIN1, bytes(size), more=True)
    if whole:
        assert reader.take(end) == []
        assert reader.partial_bytes == size
        assert reader.partial_json_bytes == 6 * size + 2
    else:
        with pytest.raises(LinkError, match=f"goes on after {size} bytes"):
            reader.take(end)


def test_pieces_of_an_item_that_is_larger_than_any_may_be_are_not_gathered() -> None:
    writer = Writer()
    reader = OutputReader(writer.memory)
    piece = link.OUTPUT_BYTES - link.OUTPUT_START - 4
    for _ in range(MAX_ITEM_BYTES // piece):
        writer.at = link.OUTPUT_START
        assert reader.take(writer.record(link.TEXT_LATIN1, bytes(piece), more=True)) == []
        reader.rewind()
    writer.at = link.OUTPUT_START
    rest = MAX_ITEM_BYTES - MAX_ITEM_BYTES // piece * piece
    with pytest.raises(ItemTooLargeError, match=f"more than {MAX_ITEM_BYTES} bytes"):
        reader.take(writer.record(link.TEXT_LATIN1, bytes(rest + 1)))


def test_wide_text_is_counted_as_what_it_may_take_in_this_process() -> None:
    writer = Writer()
    reader = OutputReader(writer.memory)
    reader.take(writer.text("é" * 100))
    assert reader.wide_bytes == 0
    reader.take(writer.text("€" * 100))
    assert reader.wide_bytes == 200


# What is kept until it is taken


class Kept:
    """A cell's buffer, its memory, and whether it was told that there is room."""

    def __init__(self, budget: OutputBudget, share: OutputShare | None = None) -> None:
        self.writer = Writer()
        self.told = 0
        self.buffer = OutputBuffer(OutputReader(self.writer.memory), share or budget.share(), self._tell)

    def _tell(self) -> None:
        self.told += 1

    def is_full(self) -> bool:
        return self.buffer.full

    def fill(self, text: str) -> None:
        """Write a text into the empty memory, have it read, and the memory emptied."""
        self.writer.at = link.OUTPUT_START
        self.buffer.collect(self.writer.text(text))
        self.buffer.rewind()


def make_budget(**limits: int) -> tuple[OutputBudget, list[str]]:
    drained: list[str] = []
    return OutputBudget(Limits(**limits), lambda: drained.append("drained")), drained


def test_a_cell_has_to_wait_once_it_holds_more_than_it_may() -> None:
    budget, _ = make_budget(output_bytes=2 * MIB, total_output_bytes=100 * MIB)
    cell = Kept(budget)
    assert not cell.is_full()
    cell.fill("x" * (MIB - 1000))
    assert not cell.is_full()
    cell.fill("x" * (MIB - 1000))
    assert not cell.is_full()
    cell.fill("x" * (MIB - 1000))
    assert cell.is_full()
    assert len(cell.buffer.take()) == 3
    assert (cell.is_full(), cell.buffer.held) == (False, 0)


def test_cells_that_hold_too_much_together_keep_their_share_and_go_on_when_another_is_emptied() -> None:
    budget, drained = make_budget(output_bytes=100 * MIB, total_output_bytes=2 * LEAST_OUTPUT_BYTES)
    share = budget.share()
    first, second = Kept(budget, share), Kept(budget, share)
    for _ in range(6):
        first.fill("x" * (MIB - 1000))
        second.fill("x" * (MIB - 1000))
    assert first.is_full()
    assert second.is_full()
    assert (first.told, second.told) == (0, 0)
    first.buffer.take()
    assert second.told == 1
    assert not second.is_full()
    assert not first.is_full()
    assert drained == []
    second.buffer.take()
    assert drained == ["drained"]
    assert second.told == 1


def test_a_session_that_holds_its_part_or_less_goes_on_whatever_another_holds() -> None:
    budget, _ = make_budget(output_bytes=100 * MIB, total_output_bytes=10 * MIB)
    greedy, modest = budget.share(), budget.share()
    cells = [Kept(budget, greedy) for _ in range(3)]
    for cell in cells:
        for _ in range(4):
            cell.fill("x" * (MIB - 1000))
    cells[0].fill("x" * (MIB - 1000))
    assert cells[0].is_full()
    other = Kept(budget, modest)
    for _ in range(5):
        other.fill("x" * (MIB - 1000))
    assert not other.is_full()
    other.fill("x" * (MIB - 1000))
    assert other.is_full()  # more than half of the whole, of which all is used
    cells[1].buffer.take()
    assert other.told == 1
    assert other.is_full()
    assert cells[0].is_full()
    for cell in cells:
        cell.buffer.take()
    assert other.told >= 2
    assert not other.is_full()


def test_a_cell_that_is_told_of_room_in_its_sessions_part_finds_it_at_once() -> None:
    budget, _ = make_budget(output_bytes=100 * MIB, total_output_bytes=10 * MIB)
    greedy, modest = budget.share(), budget.share()
    for cell in [Kept(budget, greedy) for _ in range(3)]:
        for _ in range(4):
            cell.fill("x" * (MIB - 1000))
    first, second = Kept(budget, modest), Kept(budget, modest)
    for _ in range(3):
        first.fill("x" * (MIB - 1000))
    for _ in range(5):
        second.fill("x" * (MIB - 1000))
    assert second.is_full()
    found: list[bool] = []
    second.buffer.when_room = lambda: found.append(second.is_full())
    first.buffer.take()
    assert found == [False]


def test_little_that_is_taken_is_not_worth_giving_memory_back() -> None:
    budget, drained = make_budget()
    cell = Kept(budget)
    for _ in range(20):
        cell.fill("x" * 100_000)
        cell.buffer.take()
    assert drained == []


def test_what_a_cell_holds_is_the_same_however_often_its_memory_is_read() -> None:
    budget, _ = make_budget()
    often, once = Kept(budget), Kept(budget)
    for number in range(5):
        for text in ("é" * number, "€" * 100):
            often.buffer.collect(often.writer.text(text))
            often.buffer.collect()
            once.writer.text(text)
    once.buffer.collect()
    assert often.buffer.held == once.buffer.held > 2 * 5 * 100
    assert decoded(often.buffer.take()) == decoded(once.buffer.take())


def test_what_was_written_before_an_item_that_is_too_large_is_kept_and_nothing_after_it() -> None:
    budget, _ = make_budget()
    cell = Kept(budget)
    cell.fill("before")
    piece = link.OUTPUT_BYTES - link.OUTPUT_START - 4
    with pytest.raises(ItemTooLargeError):
        for _ in range(MAX_ITEM_BYTES // piece + 1):
            cell.writer.at = link.OUTPUT_START
            cell.buffer.collect(cell.writer.record(link.TEXT_LATIN1, bytes(piece), more=True))
            cell.buffer.rewind()
    cell.buffer.rewind()
    cell.fill("after")
    assert decoded(cell.buffer.take()) == [InputText("before")]


@pytest.mark.parametrize("rounds", [1, 2])
def test_an_answer_that_might_not_fit_in_a_frame_has_to_be_taken_first(rounds: int) -> None:
    budget, _ = make_budget(output_bytes=400 * MIB, total_output_bytes=400 * MIB)
    cell = Kept(budget)
    for _ in range(rounds):
        count = 0
        while not cell.is_full():
            cell.fill("\0" * 700_000)
            count += 1
            assert count < 20
        items = cell.buffer.take()
        size = len(msgspec.json.encode(items))
        assert ANSWER_BYTES < size < ANSWER_BYTES + 6 * link.OUTPUT_BYTES
        assert decoded(items) == [InputText("\0" * 700_000)] * count


def test_the_first_item_after_all_was_taken_is_measured_like_any_other() -> None:
    budget, _ = make_budget(output_bytes=400 * MIB, total_output_bytes=400 * MIB)
    cell = Kept(budget)
    while not cell.is_full():
        cell.fill("\0" * 700_000)
    cell.buffer.take()
    # Of one byte each in the memory, and of six in an answer: too large for any frame.
    text = b"\0" * (link.OUTPUT_BYTES - link.OUTPUT_START - 4)
    with pytest.raises(ItemTooLargeError):
        for more in [True] * 15 + [False]:
            cell.writer.at = link.OUTPUT_START
            cell.buffer.collect(cell.writer.record(link.TEXT_LATIN1, text, more=more))
            cell.buffer.rewind()
    assert cell.buffer.take() == []


def test_what_is_measured_ahead_is_what_would_be_measured_later() -> None:
    budget, _ = make_budget(output_bytes=400 * MIB, total_output_bytes=400 * MIB)
    plain, ahead = Kept(budget), Kept(budget)
    for _ in range(5):
        plain.fill("\0" * 700_000)
        ahead.fill("\0" * 700_000)
        ahead.buffer.measure_ahead()
    assert decoded(plain.buffer.take()) == decoded(ahead.buffer.take())


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
