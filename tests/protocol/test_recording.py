from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codemode_protocol import messages as m
from codemode_protocol import values as v
from codemode_protocol.connection import ClientConnection, HostConnection
from codemode_protocol.framing import encode_frame, encode_line
from codemode_protocol.recording import (
    MAGIC,
    Direction,
    Record,
    Recording,
    RecordingError,
    decode_recording,
    encode_header,
    encode_record,
    replay,
    transcript,
)
from codemode_protocol.testing.exchange import Exchange
from tests.protocol import wire

records = st.lists(
    st.builds(Record, st.sampled_from(Direction), st.integers(0, 2**64 - 1), st.binary(max_size=50)), max_size=8
)


def encoded(recording: Recording) -> bytes:
    pieces = [encode_record(record.direction, record.elapsed_ns, record.data) for record in recording.records]
    return b"".join([encode_header(recording.framing, recording.started_ns), *pieces])


@given(st.builds(Recording, st.sampled_from(["length", "lines"]), st.integers(0, 2**64 - 1), records))
def test_a_recording_is_read_as_it_was_written(recording: Recording) -> None:
    assert decode_recording(encoded(recording)) == recording


@given(records, st.data())
def test_a_recording_cut_short_loses_its_end_alone(written: list[Record], data: st.DataObject) -> None:
    whole = encoded(Recording("length", 0, written))
    header = len(encode_header("length", 0))
    size = data.draw(st.integers(header, len(whole)))
    cut = decode_recording(whole[:size])
    assert cut.records == written[: len(cut.records)]
    assert cut.truncated is (len(encoded(cut)) < size)


def test_a_piece_that_was_not_written_to_its_end_is_left_out() -> None:
    pieces = [Record(Direction.TO_HOST, 1, b"whole"), Record(Direction.TO_CLIENT, 2, b"half")]
    cut = decode_recording(encoded(Recording("length", 0, pieces))[:-2])
    assert (cut.records, cut.truncated) == (pieces[:1], True)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"codemode-recording 2\n" + b"\0" * 9,
        MAGIC,
        MAGIC + b"\2" + b"\0" * 8,
        encode_header("length", 0) + b"\2" + b"\0" * 12,
    ],
)
def test_what_is_no_recording_is_refused(data: bytes) -> None:
    with pytest.raises(RecordingError):
        decode_recording(data)


def session(framing: Any = "length") -> Recording:
    """A conversation with a cell that calls, cut in the middle of frames."""
    encode = encode_frame if framing == "length" else encode_line
    conversation = [
        m.Hello([1], [], []),
        m.Ready(1, []),
        *wire.open_session(),
        wire.execute(),
        wire.started(),
        wire.tool_call(1),
        wire.tool_result(1),
        wire.initial(3, v.Result("1", [v.InputText("\x1b[31m" + "x" * 300)])),
        m.CellClosed("s", "1"),
    ]
    pieces: list[Record] = []
    for number, message in enumerate(conversation):
        direction = Direction.TO_HOST if isinstance(message, wire.CLIENT_MESSAGES) else Direction.TO_CLIENT
        data = bytes(encode(message))
        pieces += [
            Record(direction, number * 1_000_000, data[:5]),
            Record(direction, number * 1_000_000 + 1_000, data[5:]),
        ]
    return Recording(framing, 1_700_000_000_000_000_000, pieces)


@pytest.mark.parametrize("framing", ["length", "lines"])
def test_a_transcript_says_who_said_what_when(framing: Any) -> None:
    lines = list(transcript(session(framing)))
    assert lines[0] == "recorded 2023-11-14T22:13:20.000+00:00, 20 pieces"
    assert len(lines) == 11
    assert lines[1].startswith("    0.000001  client > host    connection/hello\n              {")
    assert lines[4].startswith("    0.003001  client   < host  operation/response  [after 1.000 ms]")
    assert lines[8].startswith("    0.007001  client > host    delegate/response  [after 1.000 ms]")
    assert lines[9].endswith("… (479 bytes)")
    assert lines[10].startswith("    0.009001  client   < host  cell/closed\n")


def test_a_transcript_may_be_whole_and_lets_no_control_sequence_through() -> None:
    text = "\n".join(transcript(session(), width=None))
    assert "x" * 300 in text
    assert "\x1b" not in text
    raw = Recording("length", 0, [Record(Direction.TO_HOST, 0, b"\6\0\0\0\x1b\xc2\x9b\xe2\x80\xae")])
    assert r"\x1b\x9b\u202e" in "\n".join(transcript(raw))


def notes(*records: tuple[Direction, bytes]) -> list[str]:
    recording = Recording("length", 0, [Record(direction, 0, data) for direction, data in records])
    return [entry.note for entry in replay(recording)]


IN, OUT = Direction.TO_HOST, Direction.TO_CLIENT


def test_a_replay_tells_what_is_remarkable() -> None:
    said: list[m.Message] = [*wire.open_session(), wire.execute(), wire.started()]
    start = [(IN if isinstance(one, m.OperationRequest) else OUT, bytes(encode_frame(one))) for one in said]

    def after(*messages: m.Message) -> str:
        more = [(IN if isinstance(one, wire.CLIENT_MESSAGES) else OUT, bytes(encode_frame(one))) for one in messages]
        return notes(*start, *more)[-1]

    assert after(wire.tool_result(9)) == "ignored: no request waits for it"
    assert after(m.OperationCancel(9)) == "ignored: there is nothing to cancel"
    assert after(m.OperationCancel(3)) == "after 0.000 ms"
    assert after(wire.tool_call(9), wire.delivered(9)) == "after 0.000 ms, of the wrong kind"
    assert after(wire.tool_call(9), m.DelegateCancel(9)) == "after 0.000 ms"
    assert after(m.CellClosed("s", "1")) == "VIOLATION: cell 1 of session s closes before its initial response"
    assert after(wire.execute(3)) == "VIOLATION: duplicate code-mode request id 3"


def test_a_replay_shows_ends_and_bytes_that_are_no_message() -> None:
    assert notes((IN, b""), (OUT, b"\1"), (OUT, b"")) == ["end", "end inside a frame"]
    assert notes((IN, b"\2\0\0\0{}\xff\xff\xff\xff"), (IN, b"more")) == [
        "does not decode: Object missing required field `type`",
        "code-mode IPC frame length 4294967295 exceeds 67108864 bytes",
        "4 bytes after bytes that are no frame",
    ]
    recording = Recording("length", 0, [Record(IN, 0, b"\1\0\0\0{")], truncated=True)
    assert list(transcript(recording)) == [
        "recorded 1970-01-01T00:00:00.000+00:00, 1 pieces",
        "    0.000000  client > host    ?  [does not decode: Input data was truncated]\n              {",
        "the recording ends inside a record",
    ]
    assert (
        list(transcript(Recording("length", 0, [Record(IN, 0, b"")])))[1] == "    0.000000  client > host    -  [end]"
    )


@pytest.mark.parametrize("seed", range(10))
def test_a_recorded_conversation_replays_through_both_ends(seed: int) -> None:
    chance = random.Random(seed)
    talk = Exchange()
    talk.greet()
    for _ in range(100):
        chance.choice([talk.client_acts, talk.host_acts])(chance.choice)
        talk.settle()
    pieces = [Record(IN if to == "to host" else OUT, 0, data) for to, data in talk.records]
    recording = decode_recording(encoded(Recording("length", 0, pieces)))

    client, host = ClientConnection(), HostConnection()
    for record, entry in zip(recording.records, replay(recording), strict=True):
        message = entry.message
        assert message is not None
        assert not entry.note.startswith("VIOLATION")
        match message:
            case m.Hello():
                said = client.hello()
            case m.Ready():
                said = host.negotiate(m.Hello([1], [], []))
            case _:
                said = (client if record.direction is IN else host).send(message)  # type: ignore[arg-type]
        assert said == record.data
        (host if record.direction is IN else client).receive_data(record.data)
    assert client.size() == host.size() == talk.host.size()


def test_after_bytes_that_are_no_frame_each_piece_is_told_and_the_other_direction_goes_on() -> None:
    hello = bytes(ClientConnection().hello())
    garbage = b"\xff" * 8
    records = [
        Record(Direction.TO_CLIENT, 1, garbage),
        Record(Direction.TO_CLIENT, 2, b"more"),
        Record(Direction.TO_CLIENT, 3, b"and more"),
        Record(Direction.TO_HOST, 4, hello),
        Record(Direction.TO_HOST, 5, b""),
        Record(Direction.TO_CLIENT, 6, b""),
    ]
    entries = list(replay(Recording("length", 0, records)))
    assert [(entry.direction, entry.elapsed_ns) for entry in entries] == [
        (one.direction, one.elapsed_ns) for one in records
    ]
    assert [entry.note for entry in entries[1:3]] == [
        "4 bytes after bytes that are no frame",
        "8 bytes after bytes that are no frame",
    ]
    assert isinstance(entries[3].message, m.Hello)
    assert entries[4].note == "end"
