"""The test kit of wire protocol V1, for hosts and clients of one's own.

Its strategies and state machines need the extra `testing`.
"""

from codemode_protocol.testing.conversations import CONVERSATIONS
from codemode_protocol.testing.hosts import Differs, Ending, HostUnderTest, NoMessage
from codemode_protocol.testing.steps import Conversation, play

__all__ = ["CONVERSATIONS", "Conversation", "Differs", "Ending", "HostUnderTest", "NoMessage", "play"]
