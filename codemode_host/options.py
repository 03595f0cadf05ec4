"""The command line options of `codemode-host`. Imported early, so it imports next to nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from codemode_protocol.limits import Limits

if TYPE_CHECKING:
    from codemode_protocol.framing import Framing


class Options(NamedTuple):
    """The options, with their defaults. `codemode-host --help` explains them."""

    limits: Limits = Limits()
    framing: Framing = "length"
    log_level: str = "warning"
    confinement: str = "on"
    control: str = "on"
    check: bool = False
    record: str | None = None
