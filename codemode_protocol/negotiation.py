"""Agreeing on a version and on capabilities: pure functions of the two sides' offers."""

from __future__ import annotations

from collections.abc import Set

from codemode_protocol.errors import RemoteProtocolError
from codemode_protocol.messages import (
    PROTOCOL_VERSION,
    Hello,
    InvalidHello,
    MissingRequiredCapability,
    NoCompatibleVersion,
    Ready,
    Rejected,
)

SUPPORTED_VERSIONS: frozenset[int] = frozenset({PROTOCOL_VERSION})

FIRST_MESSAGE_MUST_BE_HELLO = Rejected(InvalidHello("first message must be connection/hello"))
"""The answer to any other message in the first place."""


def negotiate(
    hello: Hello,
    versions: Set[int] = SUPPORTED_VERSIONS,
    capabilities: Set[str] = frozenset(),
) -> Ready | Rejected:
    """Return the host's answer: the highest common version, and the asked capabilities that it has, sorted by name.

    Versions are judged before capabilities; of several missing capabilities the alphabetically first is named.
    """
    common = versions & set(hello.supported_versions)
    if not common:
        return Rejected(NoCompatibleVersion(sorted(versions)))
    required = set(hello.required_capabilities)
    missing = required - capabilities
    if missing:
        return Rejected(MissingRequiredCapability(min(missing)))
    return Ready(max(common), sorted((required | set(hello.optional_capabilities)) & capabilities))


def check_ready(hello: Hello, ready: Ready) -> None:
    """Check the host's answer to a hello.

    Raises:
        RemoteProtocolError: The answer breaks what a client may expect.
    """
    if ready.selected_version not in hello.supported_versions:
        raise RemoteProtocolError(
            f"connection/ready selects version {ready.selected_version}, but the offer was {hello.supported_versions}"
        )
    missing = set(hello.required_capabilities).difference(ready.capabilities)
    if missing:
        raise RemoteProtocolError(f"connection/ready lacks the required capability {min(missing)!r}")
    unasked = set(ready.capabilities).difference(hello.required_capabilities, hello.optional_capabilities)
    if unasked:
        raise RemoteProtocolError(f"connection/ready names capability {min(unasked)!r}, which was not asked for")
