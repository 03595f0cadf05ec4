"""A conversation with a host as plain data, and how it is played."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from codemode_protocol.testing.hosts import Dialogue, HostUnderTest
from codemode_protocol.testing.patterns import Json


@dataclass(frozen=True)
class Send:
    """Messages that go out in one write."""

    messages: tuple[Json, ...]

    def as_json(self) -> Mapping[str, Json]:
        """Return the step as JSON."""
        return {"send": list(self.messages)}


@dataclass(frozen=True)
class SendBytes:
    """Bytes that go out as they are."""

    data: bytes

    def as_json(self) -> Mapping[str, Json]:
        """Return the step as JSON: the bytes as hexadecimal digits."""
        return {"sendBytes": self.data.hex()}


@dataclass(frozen=True)
class Expect:
    """Messages that come next, and none between them: in this order, or in any."""

    messages: tuple[Json, ...]
    any_order: bool = False

    def as_json(self) -> Mapping[str, Json]:
        """Return the step as JSON."""
        return {"expectInAnyOrder" if self.any_order else "expect": list(self.messages)}


@dataclass(frozen=True)
class CloseInput:
    """The end of the host's input."""

    def as_json(self) -> Mapping[str, Json]:
        """Return the step as JSON."""
        return {"closeInput": True}


@dataclass(frozen=True)
class ExpectEnd:
    """The host ends by itself, with this exit status; `quiet`: and says nothing before."""

    status: int
    quiet: bool = True

    def as_json(self) -> Mapping[str, Json]:
        """Return the step as JSON."""
        return {"expectEnd": {"status": self.status, "quiet": self.quiet}}


Step = Send | SendBytes | Expect | CloseInput | ExpectEnd


@dataclass(frozen=True)
class Conversation:
    """A connection from its first byte to the host's end.

    Attributes:
        name: `theme/name`.
        proves: What a host does that has it.
        rule: Where that is written: a page of this project and its heading.
        steps: What is sent and what has to come.
    """

    name: str
    proves: str
    rule: str
    steps: tuple[Step, ...]

    def as_json(self) -> Mapping[str, Any]:
        """Return the conversation as JSON, for programs in other languages."""
        steps = [step.as_json() for step in self.steps]
        return {"name": self.name, "proves": self.proves, "rule": self.rule, "steps": steps}


def play(conversation: Conversation, host: HostUnderTest) -> None:
    """Have a conversation with a host that has just started.

    Raises:
        Differs: The host does not do what it should.
    """
    dialogue = Dialogue(host)
    for step in conversation.steps:
        match step:
            case Send(messages):
                dialogue.send(*messages)
            case SendBytes(data):
                dialogue.send_bytes(data)
            case Expect(messages, any_order):
                missing = list(messages)
                while missing:
                    index, _ = dialogue.take(missing if any_order else missing[:1])
                    del missing[index]
            case CloseInput():
                dialogue.host.close_input()
            case _:
                dialogue.expect_end(step.status, quiet=step.quiet)
