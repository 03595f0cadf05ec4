r"""Recordings of a conversation: both directions, timed, bytes exact; and how to read one.

A recording is a header and then one record for each piece of bytes, in the order in which the recording side read
or wrote it, cut as it was read or written. All numbers are little-endian.

    header   21 bytes   "codemode-recording 1\\n"
              1 byte    framing: 0 length-prefixed, 1 lines
              8 bytes   wall-clock time of the start, nanoseconds since 1970
    record    1 byte    direction: 0 to the host, 1 to the client
              8 bytes   nanoseconds since the start
              4 bytes   length of the bytes; 0 says that this direction is at its end
                        the bytes

Everything here is functions of bytes. A recorder writes `encode_header`, then `encode_record` for each piece;
a writer that was killed leaves at most one record incomplete, and the rest can be read.
"""

from __future__ import annotations

import datetime
import struct
from collections.abc import Callable, Iterator
from enum import Enum

import msgspec

from codemode_protocol.conversation import Conversation, Violation
from codemode_protocol.errors import ProtocolError, RemoteProtocolError
from codemode_protocol.framing import Decoder, FrameDecoder, Framing, LineDecoder, Payload
from codemode_protocol.messages import (
    CellClosed,
    DelegateCancel,
    DelegateRequest,
    DelegateResponse,
    InitialResponse,
    Message,
    OperationCancel,
    OperationRequest,
    OperationResponse,
    client_message_decoder,
    host_message_decoder,
    tag_of,
)
from codemode_protocol.printable import printable_line
from codemode_protocol.state import Role

MAGIC = b"codemode-recording 1\n"
_HEADER = struct.Struct("<BQ")
_RECORD = struct.Struct("<BQI")
_FRAMINGS: tuple[Framing, ...] = ("length", "lines")

DEFAULT_WIDTH = 240
"""How many characters of a message's JSON a transcript shows."""


class RecordingError(ProtocolError):
    """These bytes are no recording, or one of a version that is not known here."""


class Direction(Enum):
    TO_HOST = 0
    TO_CLIENT = 1


class Record(msgspec.Struct, frozen=True):
    """A piece of one direction's bytes; empty at its end.

    `elapsed_ns` is nanoseconds since the start of the recording.
    """

    direction: Direction
    elapsed_ns: int
    data: bytes


class Recording(msgspec.Struct, frozen=True):
    """A whole recording.

    `started_ns` is nanoseconds since 1970; `truncated` says that its last record is incomplete.
    """

    framing: Framing
    started_ns: int
    records: list[Record]
    truncated: bool = False


def encode_header(framing: Framing, started_ns: int) -> bytes:
    """Return the first bytes of a recording."""
    return MAGIC + _HEADER.pack(_FRAMINGS.index(framing), started_ns)


def encode_record(direction: Direction, elapsed_ns: int, data: bytes | bytearray | memoryview) -> bytes:
    """One piece of bytes, at most 4 GiB; an empty one for the end of the direction."""
    return b"".join((_RECORD.pack(direction.value, elapsed_ns, len(data)), data))


def decode_recording(data: bytes) -> Recording:
    """Read a recording. Raises RecordingError."""
    if not data.startswith(MAGIC) or len(data) < len(MAGIC) + _HEADER.size:
        raise RecordingError("this is no recording of a code-mode conversation, or one of another version")
    framing, started_ns = _HEADER.unpack_from(data, len(MAGIC))
    if framing >= len(_FRAMINGS):
        raise RecordingError(f"the recording has framing {framing}, which is not known")
    records: list[Record] = []
    position = len(MAGIC) + _HEADER.size
    while position + _RECORD.size <= len(data):
        direction, elapsed_ns, size = _RECORD.unpack_from(data, position)
        if direction > 1:
            raise RecordingError(f"the record at byte {position} has direction {direction}, which is not known")
        end = position + _RECORD.size + size
        if end > len(data):
            break
        records.append(Record(Direction(direction), elapsed_ns, data[position + _RECORD.size : end]))
        position = end
    return Recording(_FRAMINGS[framing], started_ns, records, truncated=position < len(data))


# -------------------------------------------------------------------------------------------------------------- replay


class Entry(msgspec.Struct, frozen=True):
    """One message of a recording, or what stands in the place of one.

    `payload` is the message's JSON, None where the entry is about the end of a direction or about bytes that are no
    frame. `message` is None when there is none or it does not decode. `note` says what is remarkable: the time
    between a request and its answer, a message that came to nothing, a rule that was broken.
    """

    direction: Direction
    elapsed_ns: int
    payload: Payload | None
    message: Message | None
    note: str


class _Listener:
    """One direction: where its frames begin, and what they decode to."""

    def __init__(self, framing: Framing, direction: Direction) -> None:
        self.frames: Decoder = LineDecoder() if framing == "lines" else FrameDecoder()
        self.decode: Callable[[Payload], Message] = (
            client_message_decoder if direction is Direction.TO_HOST else host_message_decoder
        ).decode


def replay(recording: Recording) -> Iterator[Entry]:
    """Return the messages of a recording, in order, checked as the host's end of a connection checks them."""
    listeners = {direction: _Listener(recording.framing, direction) for direction in Direction}
    witness = _Witness()
    for record in recording.records:
        listener = listeners[record.direction]
        entry = (record.direction, record.elapsed_ns)
        if not record.data:
            yield Entry(*entry, None, None, "end" if listener.frames.at_boundary else "end inside a frame")
            continue
        try:
            payloads = listener.frames.feed(record.data)
        except RemoteProtocolError:
            yield Entry(*entry, None, None, f"{len(record.data)} bytes after bytes that are no frame")
            continue
        for payload in payloads:
            try:
                message = listener.decode(payload)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                yield Entry(*entry, payload, None, f"does not decode: {error}")
            else:
                yield Entry(*entry, payload, message, witness.note(message, record.elapsed_ns))
        if listener.frames.failure is not None:
            yield Entry(*entry, None, None, str(listener.frames.failure))


class _Witness:
    """Keeps the books along with the recorded host, and remembers when things began."""

    def __init__(self) -> None:
        self._books = Conversation(Role.HOST)
        self._began: dict[tuple[str, int], int] = {}

    def note(self, message: Message, now_ns: int) -> str:
        try:
            return self._note(message, now_ns)
        except Violation as violation:
            return f"VIOLATION: {violation}"

    def _note(self, message: Message, now_ns: int) -> str:
        books = self._books
        match message:
            case OperationRequest(id):
                books.request(message)
                self._began["request", id] = now_ns
            case DelegateRequest(id):
                books.call(message)
                self._began["call", id] = now_ns
            case OperationResponse(id):
                books.respond(message)
                return self._since("request", id, now_ns)
            case InitialResponse(id):
                books.initial_response(message)
                return self._since("request", id, now_ns)
            case DelegateResponse(id):
                answer = books.answer_call(message)
                if answer is None:
                    return "ignored: no request waits for it"
                return self._since("call", id, now_ns) + ("" if answer is message else ", of the wrong kind")
            case DelegateCancel(id):
                books.cancel_call(message)
                return self._since("call", id, now_ns)
            case OperationCancel(id):
                if books.cancel(message) is None:
                    return "ignored: there is nothing to cancel"
                return self._since("request", id, now_ns)
            case CellClosed():
                books.close_cell(message)
            case _:  # the handshake
                pass
        return ""

    def _since(self, kind: str, id: int, now_ns: int) -> str:
        began = self._began[kind, id]
        if kind == "call" or self._books.request_state(id).value == "answered":
            del self._began[kind, id]
        return f"after {(now_ns - began) / 1e6:.3f} ms"


def transcript(recording: Recording, width: int | None = DEFAULT_WIDTH) -> Iterator[str]:
    """Return a recording as lines for a person: time in seconds, direction, message, note, JSON.

    Args:
        recording: What was recorded.
        width: How many characters of a line are shown; None for all of them.
    """
    started = datetime.datetime.fromtimestamp(recording.started_ns / 1e9, datetime.UTC)
    yield f"recorded {started.isoformat(timespec='milliseconds')}, {len(recording.records)} pieces"
    for entry in replay(recording):
        arrow = "client > host  " if entry.direction is Direction.TO_HOST else "client   < host"
        name = "?" if entry.message is None else tag_of(entry.message)
        line = f"{entry.elapsed_ns / 1e9:12.6f}  {arrow}  {name if entry.payload is not None else '-'}"
        if entry.note:
            line += f"  [{entry.note}]"
        if entry.payload is not None:
            text = bytes(entry.payload).decode("utf-8", "backslashreplace")
            if width is not None and len(text) > width:
                text = f"{text[:width]}… ({len(entry.payload)} bytes)"
            line += f"\n{'':14}{printable_line(text)}"
        yield line
    if recording.truncated:
        yield "the recording ends inside a record"
