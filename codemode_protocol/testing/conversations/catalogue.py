"""All conversations, in the order in which they are tried: what the later ones rely on comes first."""

from __future__ import annotations

from typing import Final

from codemode_protocol.testing.conversations import calls, cells, ends, frames, handshake, sessions
from codemode_protocol.testing.steps import Conversation

CONVERSATIONS: Final[tuple[Conversation, ...]] = (
    *handshake.CONVERSATIONS,
    *frames.CONVERSATIONS,
    *sessions.CONVERSATIONS,
    *cells.CONVERSATIONS,
    *calls.CONVERSATIONS,
    *ends.CONVERSATIONS,
)
