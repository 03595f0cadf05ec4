"""Frames: a 4-byte little-endian payload length, then that many bytes of UTF-8 JSON.

The length is checked before a byte of the payload is stored, and memory is taken for what has arrived, never for
what the length promises. Decoding costs time linear in the bytes, however they are cut: a payload that lies whole
in one piece of input is sliced out of it (large ones without a copy), any other is gathered in one growing buffer
and handed over as it is.

`LineDecoder` and `encode_line` are the same for one JSON text per line, which a person can type.
"""

from __future__ import annotations

import struct
from typing import Literal, Protocol

import msgspec

from codemode_protocol.errors import MessageTooLargeError, RemoteProtocolError
from codemode_protocol.limits import MAX_FRAME_BYTES

MAX_PAYLOAD_BYTES = MAX_FRAME_BYTES
"""The largest payload of a frame: 64 MiB."""

HEADER_BYTES = 4

_COPY_BELOW = 16_384
"""Payloads shorter than this many bytes are copied out of their input, so that a small message does not keep a
large read alive.
"""

Payload = bytes | bytearray | memoryview
"""The JSON of one message. It may refer to the data given to `feed`: the caller does not change that afterwards."""

Framing = Literal["length", "lines"]

_encoder = msgspec.json.Encoder()
_header = struct.Struct("<I")
_pack_header, _unpack_header = _header.pack_into, _header.unpack_from


class FrameTooLargeError(RemoteProtocolError):
    """The peer announced a payload over the limit.

    `size` and `limit` are bytes; of a line, `size` is what has arrived of it.
    """

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"code-mode IPC frame length {size} exceeds {limit} bytes")
        self.size = size
        self.limit = limit


class Decoder(Protocol):
    """Bytes in, payloads out."""

    failure: RemoteProtocolError | None
    """The violation that was met, if any. Payloads that came before it were still handed out."""

    def feed(self, data: bytes | bytearray) -> list[Payload]:
        """Take bytes and give the payloads that they complete, in order.

        Once a violation was met (see `failure`) the rest of the input is dropped, and every later call raises it.
        """
        ...

    @property
    def at_boundary(self) -> bool:
        """Whether the input may end here."""
        ...


class FrameDecoder:
    """Cuts length-prefixed frames out of a stream of bytes."""

    def __init__(self, max_payload: int = MAX_PAYLOAD_BYTES) -> None:
        self._max_payload = max_payload
        self._header = b""
        self._partial: bytearray | None = None  # the payload being gathered; its header is complete
        self._missing = 0  # bytes that `_partial` still lacks
        self.failure: RemoteProtocolError | None = None

    def feed(self, data: bytes | bytearray) -> list[Payload]:
        available = len(data)
        if available < self._missing and self._partial is not None:  # one piece of many: the shortest way
            self._partial += data
            self._missing -= available
            return []
        if self.failure is not None:
            raise self.failure
        payloads: list[Payload] = []
        position = 0

        if self._partial is not None:
            position = self._missing
            # A view is not copied on its way into the buffer.
            self._partial += memoryview(data)[:position]
            payloads.append(self._partial)
            self._partial = None
            self._missing = 0
        elif self._header:
            taken = min(HEADER_BYTES - len(self._header), available)
            self._header += data[:taken]
            if len(self._header) < HEADER_BYTES:
                return payloads
            # From here on as if the header had come whole: at most three bytes are put in front of the data.
            header, self._header = self._header, b""
            (size,) = _unpack_header(header)
            position = self._payload(size, data, taken, payloads)

        while position < available:
            start = position + HEADER_BYTES
            if start > available:
                self._header = bytes(data[position:])
                break
            (size,) = _unpack_header(data, position)
            end = start + size
            if end <= available and size < _COPY_BELOW and size <= self._max_payload:  # nearly always
                payloads.append(data[start:end])
                position = end
            else:
                position = self._payload(size, data, start, payloads)
        return payloads

    def _payload(self, size: int, data: bytes | bytearray, start: int, payloads: list[Payload]) -> int:
        """Take the payload whose header ends at `start`, whole or in part. Gives where to go on."""
        if size > self._max_payload:
            self.failure = FrameTooLargeError(size, self._max_payload)
            return len(data)
        end = start + size
        if end > len(data):
            self._partial = bytearray(memoryview(data)[start:])
            self._missing = end - len(data)
            return len(data)
        payloads.append(data[start:end] if size < _COPY_BELOW else memoryview(data)[start:end])
        return end

    @property
    def at_boundary(self) -> bool:
        return not self._header and self._partial is None


class LineDecoder:
    """Cuts lines out of a stream of bytes. A blank line is no message; the end of line is LF or CR LF."""

    def __init__(self, max_payload: int = MAX_PAYLOAD_BYTES) -> None:
        self._max_payload = max_payload
        self._partial = bytearray()
        self.failure: RemoteProtocolError | None = None

    def feed(self, data: bytes | bytearray) -> list[Payload]:
        if self.failure is not None:
            raise self.failure
        payloads: list[Payload] = []
        position = 0
        while True:
            newline = data.find(b"\n", position)
            end = len(data) if newline < 0 else newline
            size = len(self._partial) + end - position
            if size > self._max_payload:
                self.failure = FrameTooLargeError(size, self._max_payload)
                return payloads
            if newline < 0:
                self._partial += memoryview(data)[position:]
                return payloads
            line: bytes | bytearray
            if self._partial:
                self._partial += memoryview(data)[position:end]
                line, self._partial = self._partial, bytearray()
            else:
                line = data[position:end]
            if line and not line.isspace():
                payloads.append(line)
            position = newline + 1

    @property
    def at_boundary(self) -> bool:
        return not self._partial or self._partial.isspace()


def encode_frame(message: object, max_payload: int = MAX_PAYLOAD_BYTES) -> bytearray:
    """Return one message as a frame, in one buffer.

    Raises:
        MessageTooLargeError: Its JSON exceeds `max_payload` bytes.
    """
    frame = bytearray(HEADER_BYTES)
    _encoder.encode_into(message, frame, HEADER_BYTES)
    size = len(frame) - HEADER_BYTES
    if size > max_payload:
        raise MessageTooLargeError(size, max_payload)
    _pack_header(frame, 0, size)
    return frame


def encode_line(message: object, max_payload: int = MAX_PAYLOAD_BYTES) -> bytearray:
    """One message as a line. Raises `MessageTooLargeError` when its JSON exceeds `max_payload` bytes."""
    line = bytearray()
    _encoder.encode_into(message, line)
    if len(line) > max_payload:
        raise MessageTooLargeError(len(line), max_payload)
    # JSON that passes through may be spread over lines. Inside a string a line feed is always escaped, so that
    # every raw one is white space between tokens.
    if b"\n" in line:
        line = line.replace(b"\n", b" ")
    line += b"\n"
    return line
