"""The command line options of `codemode-host`. Imported early, so it imports next to nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from codemode_host.runtimes.host_side.spawn import ZygoteOptions
from codemode_protocol.limits import Limits

if TYPE_CHECKING:
    from codemode_host.runtimes.host_side.memory_group import MemoryGroup
    from codemode_protocol.framing import Framing


MAX_PANICS, PANIC_SECONDS = 5, 60.0
"""Where a panic ends only the cell that it happened to, so many within so many seconds end the host all the same."""

OnPanic = Literal["stop", "cell"]


class Options(NamedTuple):
    """The options, with their defaults. `codemode-host --help` explains them."""

    limits: Limits = Limits()
    framing: Framing = "length"
    log_level: str = "warning"
    confinement: str = "on"
    control: str = "on"
    check: bool = False
    record: str | None = None
    on_panic: OnPanic = "stop"


def zygote_options(options: Options, group: MemoryGroup | None = None) -> ZygoteOptions:
    """Return what the options say to a zygote, and the control group that it is to be in."""
    limits = options.limits
    return ZygoteOptions(
        confined=options.confinement == "on",
        memory_limit=limits.memory_bytes,
        cpu_seconds=limits.cpu_seconds,
        group=group,
    )
