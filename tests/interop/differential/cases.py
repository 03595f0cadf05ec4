"""What a case is: data only. Nothing here starts a host or looks at an answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any, Literal

Message = dict[str, Any]

ErrorLevel = Literal["class", "frame", "text"]
"""How an error text of a cell is compared: `class` compares the name on its first line (the engines word their
messages differently), `frame` compares also the position of the first frame, `text` compares everything."""


@dataclass(frozen=True)
class Tool:
    """A tool that a case enables: what JavaScript is told, and the canonical name that a call carries."""

    name: str
    canonical: str | None = None
    namespace: str | None = None
    kind: Literal["function", "freeform"] = "function"
    description: str = "a tool"

    def wire(self) -> Message:
        """The tool as `enabled_tools` has it."""
        return {
            "name": self.name,
            "tool_name": {"name": self.canonical or self.name, "namespace": self.namespace},
            "description": self.description,
            "kind": self.kind,
            "input_schema": None,
            "output_schema": None,
        }


class Reply(Enum):
    """Answers to a tool call that carry no value of their own."""

    ECHO = "echo"
    SILENT = "silent"
    WRONG_KIND = "wrong kind"


@dataclass(frozen=True)
class Value:
    """The tool answers with this JSON value."""

    value: Any


@dataclass(frozen=True)
class Failure:
    """The tool answers with an error message."""

    message: str


Answer = Reply | Value | Failure


@dataclass(frozen=True)
class CellCase:
    """Scripts that run one after the other in a session of their own; what they do is the answer.

    `answers` gives, per canonical tool name, what its calls get: one answer for all of them, or one after the other
    (the last one stays). A tool that is not named echoes its input.
    """

    name: str
    sources: tuple[str, ...]
    tools: tuple[Tool, ...] = ()
    answers: Mapping[str, Answer | tuple[Answer, ...]] = field(default_factory=dict)
    error: ErrorLevel = "class"
    notifications: Literal["delivered", "refused", "wrong kind"] = "delivered"

    def digest(self) -> str:
        """Changes whenever the case asks something else, so that a stale recording is noticed."""
        return _digest(self)


@dataclass(frozen=True)
class Send:
    """Messages that go out in one write."""

    messages: tuple[Message, ...]


@dataclass(frozen=True)
class Raw:
    """Bytes that go out as they are."""

    data: bytes


@dataclass(frozen=True)
class Until:
    """Take messages until one has all these fields; dots reach into objects (`request.type`)."""

    fields: Mapping[str, Any]


@dataclass(frozen=True)
class UntilAll:
    """Take messages until each of these has come, in whatever order."""

    wanted: tuple[Until, ...]


@dataclass(frozen=True)
class Pause:
    """Let so much time pass, in seconds: only where the passing of time is what the case is about."""

    seconds: float


@dataclass(frozen=True)
class CloseInput:
    """End the host's input. A conversation does this by itself at its end."""


Step = Send | Raw | Until | UntilAll | Pause | CloseInput


@dataclass(frozen=True)
class Conversation:
    """A connection from its first byte to the host's end: what the host says, its exit status, whether it complains.

    `hello` false leaves out the handshake. `unordered` compares the messages as a set, where the order among several
    cells is nobody's promise. What a host that ends well still says after its input ended is left out, unless there is
    no handshake: whether a message that was under way gets through is luck.
    """

    name: str
    steps: tuple[Step, ...]
    hello: bool = True
    unordered: bool = False

    def digest(self) -> str:
        """Changes whenever the case asks something else, so that a stale recording is noticed."""
        return _digest(self)


Case = CellCase | Conversation


def _digest(case: Case) -> str:
    def plain(value: Any) -> Any:
        if isinstance(value, bytes):
            return hashlib.sha256(value).hexdigest()
        if isinstance(value, Enum):
            return value.value
        raise TypeError(f"a case cannot hold {type(value)}")

    text = json.dumps(asdict(case), default=plain, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def cell(name: str, *sources: str, **options: Any) -> CellCase:
    """A cell case from its scripts."""
    return CellCase(name, sources, **options)


def talk(name: str, *steps: Step, **options: Any) -> Conversation:
    """A conversation from its steps."""
    return Conversation(name, steps, **options)
