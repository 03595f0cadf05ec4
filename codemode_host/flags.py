"""The command line of `codemode-host`. Imported only where there is one to read: its library takes longer than most."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from .limits import MIB, Limits
from .options import Options
from .version import VERSION

# Flag, the limit's field, how many of the field's units one of the flag's is, and what the flag is for.
_LIMITS = (
    ("--memory-mib", "memory_bytes", MIB, "memory of a cell; 0: no limit"),
    ("--cpu-seconds", "cpu_seconds", 1, "processor time of a cell; 0: no limit"),
    ("--cells", "cells", 1, "cells at a time"),
    ("--cells-per-session", "cells_per_session", 1, "cells at a time of one session"),
    ("--source-mib", "source_bytes", MIB, "size of a script"),
    ("--stored-values", "stored_values", 1, "number of values that a session stores"),
    ("--stored-mib", "stored_bytes", MIB, "size of all values that a session stores"),
    ("--calls", "calls", 1, "tool calls and notifications in flight of a cell"),
    ("--answers-mib", "answer_bytes", MIB, "answers to tool calls that a cell leaves unread"),
    ("--output-mib", "output_bytes", MIB, "output of a cell that nobody has taken"),
    ("--total-output-mib", "total_output_bytes", MIB, "output of all cells that nobody has taken"),
    ("--queue-mib", "queued_bytes", MIB, "what waits for the client before cells wait"),
    ("--unread-mib", "unread_bytes", MIB, "what waits for the client before it counts as lost"),
    ("--spares", "spare_runtimes", 1, "runtimes kept ready"),
)
_ZERO_ALLOWED = ("memory_bytes", "cpu_seconds", "spare_runtimes")


def parse(argv: Sequence[str]) -> Options:
    """What the flags say. Ends the program, with a word on standard error, when they cannot be read."""
    said = vars(_parser().parse_args(argv))
    values: dict[str, Any] = {field: said.pop(field) * unit for _, field, unit, _ in _LIMITS}
    for field in ("memory_bytes", "cpu_seconds"):
        values[field] = values[field] or None
    return Options(limits=Limits(**values), **said)


def _parser() -> argparse.ArgumentParser:
    usual = Options()
    parser = argparse.ArgumentParser(
        prog="codemode-host",
        description="Runs JavaScript cells for a client that speaks the code mode protocol on stdin and stdout.",
    )
    parser.add_argument(
        "--framing",
        choices=("length", "lines"),
        default=usual.framing,
        help="how messages are told apart: a length before each (default), or one JSON text a line, to type by hand",
    )
    parser.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error", "critical"),
        default=usual.log_level,
        help="what is worth a line on standard error (default: %(default)s)",
    )
    parser.add_argument(
        "--confinement",
        choices=("on", "off"),
        default=usual.confinement,
        help="off runs cells without a system call filter: for machines that have none (default: %(default)s)",
    )
    parser.add_argument(
        "--control",
        metavar="on|off|DIR",
        type=_control_place,
        default=usual.control,
        help="where `codemode ps` and `codemode kill` reach this host: a socket in a folder that is yours alone "
        "(default: %(default)s), in DIR, or nowhere",
    )
    parser.add_argument("--check", action="store_true", help="try what cells rely on, print how it stands, and end")
    parser.add_argument("--version", action="version", version=f"codemode-host {VERSION}")
    parser.add_argument(
        "--record",
        metavar="FILE",
        help="write every byte of the conversation to FILE, for `codemode replay FILE` to show; it holds all that the "
        "scripts and the tools said, so only its owner may read it",
    )
    group = parser.add_argument_group("limits")
    for flag, field, unit, what in _LIMITS:
        default = getattr(usual.limits, field)
        group.add_argument(
            flag,
            dest=field,
            type=_natural if field in _ZERO_ALLOWED else _positive,
            default=0 if default is None else default // unit,
            metavar="N",
            help=f"{what} (default: %(default)s)",
        )
    return parser


def _control_place(text: str) -> str:
    """`on`, `off`, or a folder, which has a slash so that no slip of the pen makes one."""
    if text not in ("on", "off") and "/" not in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not on, off or a folder with a slash in it, as in ./{text}")
    return text


def _natural(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError
    return number


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number
