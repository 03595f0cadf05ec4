"""What the tests of functions as tools have in common: types, a function, and how a tool is called."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from codemode_client._tools.functions import FunctionTool


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Strict(Struct, forbid_unknown_fields=True):
    """A point."""

    x: int
    y: int = 0


@dataclass
class Tree:
    value: int
    below: list[Tree] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.value < 0:
            raise ValueError("value must not be negative")


def area(width: Annotated[float, Meta(description="in metres")], height: float = 1.0) -> float:
    """The area of a rectangle."""
    return width * height


async def call(tool: FunctionTool, argument: bytes = b"null") -> Any:
    return msgspec.json.decode(await tool.call(Raw(argument)))
