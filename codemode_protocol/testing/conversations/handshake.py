"""How a connection begins."""

from __future__ import annotations

from codemode_protocol.framing import encode_frame
from codemode_protocol.testing.steps import CloseInput, Conversation, ExpectEnd, SendBytes, Step
from codemode_protocol.testing.words import FATAL, GOODBYE, expect, hello, open_session, opened, ready, rejected, send

RULE = "docs/protocol.md#handshake"
FAR_VERSION = 2**32 - 1
UNHEARD_OF = "a-capability-of-no-host"

_HELLO = bytes(encode_frame(hello()))


def _talk(name: str, proves: str, *steps: Step) -> Conversation:
    return Conversation(f"handshake/{name}", proves, RULE, steps)


CONVERSATIONS = (
    _talk("ready", "answers a hello, and ends with its input", send(hello()), expect(ready()), *GOODBYE),
    _talk(
        "highest-common-version",
        "selects version 1 where a client offers later ones too",
        send(hello((FAR_VERSION, 1))),
        expect(ready()),
        *GOODBYE,
    ),
    _talk(
        "unknown-optional-capability",
        "leaves out what it does not have",
        send(hello(optional=[UNHEARD_OF])),
        expect(ready()),
        *GOODBYE,
    ),
    _talk(
        "byte-by-byte",
        "takes a frame in pieces",
        *(SendBytes(_HELLO[at : at + 1]) for at in range(len(_HELLO))),
        expect(ready()),
        *GOODBYE,
    ),
    _talk(
        "no-waiting",
        "takes a request that comes with the hello",
        send(hello(), open_session(1)),
        expect(ready(), opened(1)),
        *GOODBYE,
    ),
    _talk(
        "no-common-version",
        "rejects a client of another version and ends with status 0",
        send(hello((FAR_VERSION,))),
        expect(rejected(type="noCompatibleVersion", supportedVersions=[1])),
        ExpectEnd(0),
    ),
    _talk(
        "missing-capability",
        "rejects a client that requires what it does not have, and ends with status 0",
        send(hello(required=[UNHEARD_OF])),
        expect(rejected(type="missingRequiredCapability", capability=UNHEARD_OF)),
        ExpectEnd(0),
    ),
    _talk(
        "version-before-capability",
        "judges the version before the capabilities",
        send(hello((FAR_VERSION,), required=[UNHEARD_OF])),
        expect(rejected(type="noCompatibleVersion", supportedVersions=[1])),
        ExpectEnd(0),
    ),
    _talk(
        "request-first",
        "rejects a client that does not begin with a hello, and hears nothing after that",
        send(open_session(1), hello()),
        expect(rejected(type="invalidHello", message="first message must be connection/hello")),
        ExpectEnd(0),
    ),
    _talk("second-hello", "ends at a second hello", send(hello()), expect(ready()), send(hello()), *FATAL),
    _talk("no-versions", "ends at a hello without versions", send(hello(())), *FATAL),
    _talk("version-twice", "ends at a hello with a version twice", send(hello((1, 1))), *FATAL),
    _talk("capability-twice", "ends at a hello with a capability twice", send(hello(optional=["a", "a"])), *FATAL),
    _talk(
        "required-and-optional",
        "ends at a hello that requires and offers to do without",
        send(hello(required=["a"], optional=["a"])),
        *FATAL,
    ),
    _talk("unknown-field", "ends at a hello with an unknown field", send(hello(more=1)), *FATAL),
    _talk("nothing", "ends with status 0 if nothing is said", CloseInput(), ExpectEnd(0)),
)
