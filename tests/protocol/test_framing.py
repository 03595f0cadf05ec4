from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from codemode_protocol.errors import MessageTooLargeError, RemoteProtocolError
from codemode_protocol.framing import (
    MAX_PAYLOAD_BYTES,
    Decoder,
    FrameDecoder,
    FrameTooLargeError,
    LineDecoder,
    encode_frame,
    encode_line,
)
from codemode_protocol.testing.strategies import cuts, raws


def decoded(decoder: Decoder, *pieces: bytes) -> list[bytes]:
    return [bytes(payload) for piece in pieces for payload in decoder.feed(piece)]


def test_a_frame_is_a_little_endian_length_and_its_json() -> None:
    assert encode_frame(["é", 1]) == b'\x08\x00\x00\x00["\xc3\xa9",1]'


def test_a_line_is_its_json_and_a_line_feed() -> None:
    assert encode_line(["é", 1]) == b'["\xc3\xa9",1]\n'


def test_json_that_is_spread_over_lines_stays_one_line() -> None:
    assert encode_line(Raw(b'{\n "a":\r\n "x\\ny"\n}')) == b'{  "a":\r  "x\\ny" }\n'


@given(st.data(), st.lists(raws(), max_size=5))
def test_frames_come_out_as_they_went_in_however_they_are_cut(data: st.DataObject, texts: list[Raw]) -> None:
    stream = b"".join(encode_frame(text) for text in texts)
    decoder = FrameDecoder()
    assert decoded(decoder, *data.draw(cuts(stream))) == [bytes(text) for text in texts]
    assert decoder.at_boundary
    assert decoder.failure is None


@given(st.data(), st.lists(raws(), max_size=5))
def test_lines_come_out_as_they_went_in_however_they_are_cut(data: st.DataObject, texts: list[Raw]) -> None:
    stream = b"".join(encode_line(text) for text in texts)
    decoder = LineDecoder()
    assert decoded(decoder, *data.draw(cuts(stream))) == [bytes(text).replace(b"\n", b" ") for text in texts]
    assert decoder.at_boundary


def test_byte_at_a_time_equals_whole() -> None:
    stream = b"".join(encode_frame("x" * size) for size in (0, 1, 2, 254, 255, 256, 300))
    whole = decoded(FrameDecoder(), stream)
    assert len(whole) == 7
    assert decoded(FrameDecoder(), *(stream[at : at + 1] for at in range(len(stream)))) == whole


@pytest.mark.parametrize("size", [0, 1, 16_383, 16_384, 100_000])
def test_a_payload_of_any_size_comes_out_of_one_piece(size: int) -> None:
    frame = size.to_bytes(4, "little") + b"x" * size
    assert decoded(FrameDecoder(), frame + frame) == [b"x" * size] * 2


def test_a_small_payload_does_not_keep_a_large_read_alive_and_a_large_one_is_not_copied() -> None:
    data = encode_frame("small") + encode_frame("x" * 100_000)
    small, large = FrameDecoder().feed(data)
    assert isinstance(small, bytearray)
    assert isinstance(large, memoryview)
    assert large.obj is data


def test_64_mib_frames_pass_and_come_out_in_the_buffer_that_gathered_them() -> None:
    frame = encode_frame(Raw(b'"' + b"x" * (MAX_PAYLOAD_BYTES - 2) + b'"'))
    decoder = FrameDecoder()
    view = memoryview(frame)
    payloads = [
        payload for at in range(0, len(frame), 1 << 16) for payload in decoder.feed(bytes(view[at : at + (1 << 16)]))
    ]
    assert len(payloads) == 1
    assert isinstance(payloads[0], bytearray)
    assert payloads[0] == view[4:]


@pytest.mark.parametrize("size", [MAX_PAYLOAD_BYTES + 1, 2**32 - 1])
def test_a_length_over_the_limit_is_refused_on_the_length_alone(size: int) -> None:
    decoder = FrameDecoder()
    assert decoded(decoder, b"\2\0\0\0{}" + size.to_bytes(4, "little")) == [b"{}"]
    assert isinstance(decoder.failure, FrameTooLargeError)
    assert str(decoder.failure) == f"code-mode IPC frame length {size} exceeds 67108864 bytes"
    with pytest.raises(FrameTooLargeError):
        decoder.feed(b"more")


def test_a_length_over_the_limit_is_refused_when_its_header_is_cut() -> None:
    decoder = FrameDecoder(10)
    assert decoded(decoder, b"\x0b", b"\0\0", b"\0{}") == []
    assert isinstance(decoder.failure, FrameTooLargeError)
    assert (decoder.failure.size, decoder.failure.limit) == (11, 10)


def test_a_promised_length_costs_no_memory() -> None:
    tracemalloc.start()
    try:
        decoder = FrameDecoder()
        decoder.feed(MAX_PAYLOAD_BYTES.to_bytes(4, "little") + b"{")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000
    assert not decoder.at_boundary


@pytest.mark.parametrize("start", [b"\1", b"\1\0\0\0", b"\2\0\0\0x"])
def test_the_input_may_end_only_between_frames(start: bytes) -> None:
    decoder = FrameDecoder()
    assert decoder.at_boundary
    decoder.feed(start)
    assert not decoder.at_boundary


def test_blank_lines_are_no_messages_and_lines_may_end_in_cr_lf() -> None:
    decoder = LineDecoder()
    assert decoded(decoder, b"\n \r\n{}\r\n[", b"]\n  ") == [b"{}\r", b"[]"]
    assert decoder.at_boundary
    decoder.feed(b"1")
    assert not decoder.at_boundary


@pytest.mark.parametrize("pieces", [(b"12345678901",), (b"1234567890", b"1"), (b"1\n12345678901\n",)])
def test_a_line_over_the_limit_is_refused_before_its_end(pieces: tuple[bytes, ...]) -> None:
    decoder = LineDecoder(10)
    for piece in pieces:
        decoder.feed(piece)
    assert isinstance(decoder.failure, FrameTooLargeError)
    with pytest.raises(RemoteProtocolError):
        decoder.feed(b"\n")


def test_an_outgoing_message_over_the_limit_is_refused_with_its_size() -> None:
    for encode in (encode_frame, encode_line):
        assert encode("12345678", 10)
        with pytest.raises(MessageTooLargeError, match="length 11 exceeds 10 bytes") as caught:
            encode("123456789", 10)
        assert (caught.value.size, caught.value.limit) == (11, 10)
