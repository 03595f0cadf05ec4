"""Handshakes: what is accepted, what is rejected with status 0, and what ends the host with an error."""

# ruff: noqa: E501 (a script, or the steps of a conversation, read best in one line)

from __future__ import annotations

from typing import Any

from tests.interop.differential.cases import Conversation, Raw, Until, talk
from tests.interop.differential.driver import HELLO, frame
from tests.interop.differential.wire import cancel, open_session, reply, send, text_frame

ALL = ["yield-observation", "bounded-output-v1", "delegate-capacity-4096", "session-cell-execution-resource-limits"]


def hello(name: str, **fields: Any) -> Conversation:
    """A conversation of one hello, its fields replaced; a field that is `...` is left out."""
    message = {key: value for key, value in {**HELLO, **fields}.items() if value is not ...}
    return talk(name, send(message), hello=False)


CASES = (
    hello("plain"),
    hello("newer-version-too", supportedVersions=[2, 1]),
    hello("version-zero", supportedVersions=[0, 1]),
    hello("version-negative", supportedVersions=[-1, 1]),
    hello("version-large", supportedVersions=[65536, 1]),
    hello("version-largest", supportedVersions=[2**32 - 1, 1]),
    hello("version-too-large", supportedVersions=[2**32, 1]),
    hello("version-float", supportedVersions=[1.0]),
    hello("version-string", supportedVersions=["1"]),
    hello("version-twice", supportedVersions=[1, 1]),
    hello("other-version-twice", supportedVersions=[3, 1, 3]),
    hello("no-versions", supportedVersions=[]),
    hello("versions-null", supportedVersions=None),
    hello("only-newer", supportedVersions=[2, 3]),
    hello("unknown-optional", optionalCapabilities=["something-new"]),
    hello("unknown-required", requiredCapabilities=["something-new"]),
    hello("two-unknown-required", requiredCapabilities=["zz", "aa"]),
    hello("version-judged-before-capability", supportedVersions=[2], requiredCapabilities=["zz"]),
    hello("capability-in-both", requiredCapabilities=["zz"], optionalCapabilities=["zz"]),
    hello("capability-twice-optional", optionalCapabilities=["a", "a"]),
    hello("capability-twice-required", requiredCapabilities=["a", "a"]),
    hello("capability-empty", optionalCapabilities=[""]),
    hello("capability-blank", optionalCapabilities=[" "]),
    hello("capability-number", optionalCapabilities=[1]),
    hello("capability-null", optionalCapabilities=None),
    hello("without-versions", supportedVersions=...),
    hello("without-required", requiredCapabilities=...),
    hello("without-optional", optionalCapabilities=...),
    hello("unknown-field", something=None),
    hello("unicode-capability", requiredCapabilities=["ü ☃"]),
    talk("field-order-is-free", text_frame('{"optionalCapabilities":[],"requiredCapabilities":[],"supportedVersions":[1],"type":"connection/hello"}'), hello=False),
    talk("nothing-at-all", hello=False),
    talk("request-first", send(open_session(1)), hello=False),
    talk("cancel-first", send(cancel(1)), hello=False),
    talk("request-first-then-hello", send(open_session(1), HELLO), hello=False),
    talk("garbage-first", text_frame("garbage"), hello=False),
    talk("malformed-request-first", text_frame('{"type":"operation/request","id":1}'), hello=False),
    talk("unknown-type-first", text_frame('{"type":"something/else"}'), hello=False),
    talk("empty-frame-first", text_frame(""), hello=False),
    talk("truncated-header-first", Raw(b"\x10\x00"), hello=False),
    talk("truncated-payload-first", Raw(b"\x10\x00\x00\x00{"), hello=False),
    talk("oversized-first", Raw((67_108_865).to_bytes(4, "little")), hello=False),
    talk("second-hello", send(HELLO)),
    talk("second-hello-after-work", send(open_session(1)), reply(1), send(HELLO)),
    talk("hello-and-request-in-one-write", send(HELLO, open_session(1)), reply(1), hello=False),
    talk("hello-byte-by-byte", *(Raw(bytes([b])) for b in frame(b'{"type":"connection/hello","supportedVersions":[1],"requiredCapabilities":[],"optionalCapabilities":[]}')), Until({"type": "connection/ready"}), hello=False),
)  # fmt: skip
