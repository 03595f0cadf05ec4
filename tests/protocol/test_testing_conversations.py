"""The conversations of the test kit, played with a host that does what they expect, and with others."""

from __future__ import annotations

import builtins
import importlib
import json
import re
import sys
from collections import deque
from pathlib import Path
from typing import Any

import pytest

from codemode_protocol.framing import FrameDecoder
from codemode_protocol.testing import CONVERSATIONS, Conversation, Differs, Ending, NoMessage, play
from codemode_protocol.testing import steps as s
from codemode_protocol.testing.hosts import show_bytes
from codemode_protocol.testing.patterns import named
from codemode_protocol.testing.words import GREETING, expect, hello, ready, send, withdrawn

ROOT = Path(__file__).resolve().parents[2]


class Mirror:
    """A host that says what a conversation expects, whatever it hears."""

    def __init__(self, conversation: Conversation) -> None:
        self.heard = bytearray()
        self.names: dict[str, int] = {}
        self.said: deque[bytes] = deque()
        self.status, self.closed, self.complaint = 0, False, "it has its reasons"
        for step in conversation.steps:
            if isinstance(step, s.Expect):
                messages = reversed(step.messages) if step.any_order else step.messages
                self.said += [json.dumps(self.concrete(message)).encode() for message in messages]
            elif isinstance(step, s.ExpectEnd):
                self.status = step.status

    def concrete(self, expected: Any) -> Any:
        match expected:
            case {"$any": "text"}:
                return "any"
            case {"$starts": text}:
                return text + "…"
            case {"$as": name}:
                return self.names.setdefault(name, len(self.names) + 40)
            case dict():
                return {key: self.concrete(value) for key, value in expected.items()}
            case list():
                return [self.concrete(value) for value in expected]
            case _:
                return expected

    def send(self, data: bytes) -> None:
        assert not self.closed
        self.heard += data

    def receive(self) -> bytes:
        if not self.said:
            raise NoMessage("nothing for 1 s", silent=True)
        return self.said.popleft()

    def close_input(self) -> None:
        self.closed = True

    def end(self) -> Ending:
        return Ending(list(self.said), self.status, self.complaint)


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda conversation: conversation.name)
def test_a_host_that_does_what_is_expected_is_all_right(conversation: Conversation) -> None:
    host = Mirror(conversation)
    play(conversation, host)
    assert not host.said
    assert host.closed or isinstance(conversation.steps[-1], s.ExpectEnd)
    decoder = FrameDecoder()
    if not conversation.name.startswith("frames/"):
        decoder.feed(bytes(host.heard))
        assert decoder.at_boundary


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda conversation: conversation.name)
def test_a_message_more_or_less_is_found(conversation: Conversation) -> None:
    said = len(Mirror(conversation).said)
    for at in range(said):
        host = Mirror(conversation)
        del host.said[at]
        with pytest.raises(Differs):
            play(conversation, host)
    for at in range(said + 1):
        host = Mirror(conversation)
        host.said.insert(at, b'{"type":"delegate/cancel","id":999}')
        last = conversation.steps[-1]
        if at == said and isinstance(last, s.ExpectEnd) and not last.quiet:
            play(conversation, host)
        else:
            with pytest.raises(Differs):
                play(conversation, host)


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda conversation: conversation.name)
def test_another_end_is_found(conversation: Conversation) -> None:
    host = Mirror(conversation)
    host.status += 1
    with pytest.raises(Differs, match="its end with exit status"):
        play(conversation, host)


def test_names_are_unique_and_rules_are_headings() -> None:
    names = [conversation.name for conversation in CONVERSATIONS]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z-]+/[a-z0-9-]+", name) for name in names)
    page = (ROOT / "docs" / "protocol.md").read_text()
    headings = re.findall(r"^#+ +(.*)$", page, re.MULTILINE)
    anchors = {"docs/protocol.md#" + re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}
    assert {conversation.rule for conversation in CONVERSATIONS} <= anchors


def test_conversations_are_plain_data() -> None:
    for conversation in CONVERSATIONS:
        told = json.loads(json.dumps(conversation.as_json()))
        assert list(told) == ["name", "proves", "rule", "steps"]
        assert len(told["steps"]) == len(conversation.steps)


TALK = Conversation("a/b", "proves", "rule", (*GREETING, s.CloseInput(), s.ExpectEnd(0)))


def test_what_differs_is_said_with_what_was_said_before() -> None:
    host = Mirror(TALK)
    host.said[0] = b'{"type":"connection/ready","selectedVersion":2,"capabilities":[]}'
    with pytest.raises(Differs) as caught:
        play(TALK, host)
    assert caught.value.expected == '{"type":"connection/ready","selectedVersion":1,"capabilities":[]}'
    assert caught.value.came == host_said(caught.value)
    assert caught.value.transcript[0].startswith('> {"type":"connection/hello"')
    assert not caught.value.silent


def host_said(differs: Differs) -> str:
    return differs.transcript[-1].removeprefix("< ")


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff", b"[]", b"[" * 100_000, b'{"type":"connection/hello"}'])
def test_what_is_no_message_is_found(payload: bytes) -> None:
    host = Mirror(TALK)
    host.said[0] = payload
    with pytest.raises(Differs, match="which is no message of V1"):
        play(TALK, host)


def test_a_silent_host_is_found() -> None:
    host = Mirror(TALK)
    host.said.clear()
    with pytest.raises(Differs, match="nothing for 1 s") as caught:
        play(TALK, host)
    assert caught.value.silent


def test_a_host_that_does_not_end_or_does_not_say_why_is_found() -> None:
    class Endless(Mirror):
        def end(self) -> Ending:
            raise NoMessage("nothing: it still runs")

    with pytest.raises(Differs, match="it still runs") as caught:
        play(TALK, Endless(TALK))
    assert not caught.value.silent  # it does not say that it was waited for in vain
    fatal = Conversation("a/b", "proves", "rule", (send(hello()), expect(ready()), s.ExpectEnd(1)))
    host = Mirror(fatal)
    host.complaint = " "
    with pytest.raises(Differs, match="a line on standard error"):
        play(fatal, host)
    host = Mirror(fatal)
    host.status, host.complaint = 2, ""
    with pytest.raises(Differs, match=r"exit status 2$"):
        play(fatal, host)


def test_one_call_cannot_have_the_id_of_another() -> None:
    conversation = Conversation("a/b", "proves", "rule", (expect(withdrawn("a"), withdrawn("b")), s.ExpectEnd(0)))
    host = Mirror(conversation)
    host.said[1] = host.said[0]
    with pytest.raises(Differs):
        play(conversation, host)
    assert named("a") == {"$as": "a"}


def test_bytes_are_shown_as_text_where_they_are_text() -> None:
    assert show_bytes(b"") == "nothing"
    assert show_bytes("é".encode()) == "é"
    assert show_bytes(b"a\nb") == r"'a\nb'"
    assert show_bytes(b"\xff\x00") == "the bytes ff 00"
    assert show_bytes(b"\xff" * 500).endswith("ff…")
    assert show_bytes(b"x" * 5000).endswith("x… (5000 characters)")


def test_conversations_do_without_hypothesis_and_machines_and_strategies_say_which_extra_they_need(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = builtins.__import__

    def without(name: str, *more: Any, **options: Any) -> Any:
        if name.partition(".")[0] == "hypothesis":
            raise ImportError(name)
        return real(name, *more, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    for name in [name for name in sys.modules if name.startswith("codemode_protocol")]:
        monkeypatch.delitem(sys.modules, name)
    for path in sorted((ROOT / "codemode_protocol").glob("*.py")):
        importlib.import_module(f"codemode_protocol.{path.stem}")
    assert importlib.import_module("codemode_protocol.testing").CONVERSATIONS
    for module in ("strategies", "connection_machine", "host_machine"):
        with pytest.raises(ImportError, match=r"pip install 'codemode-host\[testing\]'"):
            importlib.import_module(f"codemode_protocol.testing.{module}")
