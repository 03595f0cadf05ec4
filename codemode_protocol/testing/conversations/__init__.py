"""The conversations that every V1 host has to have, as plain data."""

from codemode_protocol.testing.conversations.catalogue import CONVERSATIONS

__all__ = ["CONVERSATIONS"]
