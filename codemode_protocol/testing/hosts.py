"""A host under test, and a dialogue with it that says where it differs from what was expected.

Who has the bytes of a host in hand implements `HostUnderTest`: a process behind pipes, or an object in memory. Nothing
here waits or reads a clock; how long a host may take is that implementation's business.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec

from codemode_protocol.framing import HEADER_BYTES, encode_frame
from codemode_protocol.messages import host_message_decoder
from codemode_protocol.testing.patterns import Json, fill, match, show

_SHOWN_BYTES = 200


class NoMessage(Exception):
    """A host that should say something, or end, does not. The text says what it does instead.

    `silent`: it was waited for in vain.
    """

    def __init__(self, text: str, *, silent: bool = False) -> None:
        super().__init__(text)
        self.silent = silent


class Ending(NamedTuple):
    """How a host ended."""

    said: Sequence[bytes]
    """The payloads of the frames that had not been received."""
    status: int
    """The exit status; negative for the signal that ended it."""
    complaint: str
    """What it wrote to its standard error."""
    cut: bool = False
    """Whether its output stops inside a frame."""


class HostUnderTest(Protocol):
    """One run of a host, from its start to its end."""

    def send(self, data: bytes) -> None:
        """Write bytes to the host. That it has gone is no error here: what it said last tells."""
        ...

    def receive(self) -> bytes:
        """Return the payload of the next frame.

        Raises:
            NoMessage: None came in time, none can come any more, or what came is no frame.
        """
        ...

    def close_input(self) -> None:
        """End the host's input."""
        ...

    def end(self) -> Ending:
        """Wait for the host to end by itself.

        Raises:
            NoMessage: It did not in time.
        """
        ...


class Differs(AssertionError):
    """A host does not do what it should.

    Attributes:
        expected: What it should have done.
        came: What it did.
        transcript: What was said before, a line for each message: `>` to the host, `<` from it.
        silent: It was waited for in vain.
    """

    def __init__(self, expected: str, came: str, transcript: Sequence[str] = (), *, silent: bool = False) -> None:
        super().__init__(f"expected {expected}\ncame     {came}")
        self.expected = expected
        self.came = came
        self.transcript: list[str] = list(transcript)
        self.silent = silent


class Dialogue:
    """Sends messages, and compares what comes with what is expected."""

    def __init__(self, host: HostUnderTest) -> None:
        self.host = host
        self.names: dict[str, int] = {}
        """The integers that the host chose, by the names that they were given."""
        self.transcript: list[str] = []

    def send(self, *messages: Json) -> list[bytes]:
        """Send messages in one write, their names filled in; returns their payloads."""
        frames = [bytes(encode_frame(fill(message, self.names))) for message in messages]
        self.send_bytes(b"".join(frames), *(frame[HEADER_BYTES:].decode() for frame in frames))
        return [frame[HEADER_BYTES:] for frame in frames]

    def send_bytes(self, data: bytes, *shown: str) -> None:
        """Send bytes as they are; the transcript says `shown`, or the bytes themselves."""
        self.transcript += [f"> {line}" for line in shown or (show_bytes(data),)]
        self.host.send(data)

    def take(self, candidates: Sequence[Json]) -> tuple[int, bytes]:
        """Receive one message that has to be one of some.

        Returns:
            Which of them it was, and its payload.

        Raises:
            Differs: It is another one, it is no message of V1, or there is none.
        """
        expected = " or ".join(map(show, candidates)) or "no message"
        try:
            payload = self.host.receive()
        except NoMessage as why:
            raise self.differs(expected, str(why), silent=why.silent) from None
        came = self.decode(payload, expected)
        for index, candidate in enumerate(candidates):
            names = match(candidate, came, self.names)
            if names is not None:
                self.names = names
                return index, payload
        raise self.differs(expected, show_bytes(payload))

    def decode(self, payload: bytes, expected: str) -> Json:
        """Return a payload as JSON, once it has been found to be a message of a V1 host.

        Raises:
            Differs: It is none.
        """
        self.transcript.append(f"< {show_bytes(payload)}")
        try:
            host_message_decoder.decode(payload)
            return json.loads(payload)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise self.differs(expected, f"{show_bytes(payload)}, which is no message of V1: {error}") from None

    def expect_end(self, status: int, *, quiet: bool) -> None:
        """Wait for the host's end.

        Args:
            status: The exit status that it has to have.
            quiet: Whether it may say nothing more before.

        Raises:
            Differs: It ends otherwise, or not at all; or it fails and does not say why.
        """
        expected = f"its end with exit status {status}"
        try:
            ending = self.host.end()
        except NoMessage as why:
            raise self.differs(expected, str(why), silent=why.silent) from None
        for payload in ending.said:
            self.decode(payload, expected)
        if quiet and ending.said:
            raise self.differs(f"{expected} and no message before it", show_bytes(ending.said[0]))
        if quiet and ending.cut:
            raise self.differs(f"{expected}, and of its output at the end of a frame", "an end inside a frame")
        if ending.status != status:
            complaint = ending.complaint.strip()
            raise self.differs(expected, f"exit status {ending.status}" + (f": {complaint}" if complaint else ""))
        if status and not ending.complaint.strip():
            raise self.differs("a line on standard error that says why it ends", "none")

    def differs(self, expected: str, came: str, *, silent: bool = False) -> Differs:
        """Return the error that says so, with what was said before."""
        return Differs(expected, came, self.transcript, silent=silent)


def show_bytes(data: bytes) -> str:
    """Return bytes as one line that is not too long: as text where they are text."""
    try:
        text = data.decode() or "nothing"
    except UnicodeDecodeError:
        shown = data[:_SHOWN_BYTES].hex(" ")
        return f"the bytes {shown}" + ("…" if len(data) > _SHOWN_BYTES else "")
    if not text.isprintable():
        text = repr(text)
    limit = 5 * _SHOWN_BYTES
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"
