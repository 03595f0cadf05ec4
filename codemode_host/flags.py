"""The flags of `codemode-host`. Imported only if there are any, because argparse is slow to import."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from codemode_host.options import MAX_PANICS, PANIC_SECONDS, Options
from codemode_host.version import VERSION
from codemode_protocol.limits import FLAGS, Limits


def parse(argv: Sequence[str]) -> Options:
    """Parse the flags. Exits the program with a message on standard error if they are invalid."""
    said = vars(_parser().parse_args(argv))
    values: dict[str, Any] = {field: said.pop(field) * flag.unit for field, flag in FLAGS.items()}
    for field in ("memory_bytes", "total_memory_bytes", "cpu_seconds"):
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
    parser.add_argument(
        "--on-panic",
        choices=("stop", "cell"),
        default=usual.on_panic,
        help="what an engine panic ends: the host (default), or the cell that it happened to, and the host only if "
        f"there are {MAX_PANICS} within {PANIC_SECONDS:.0f} s",
    )
    parser.add_argument("--check", action="store_true", help="try what cells rely on, print how it stands, and end")
    parser.add_argument("--version", action="version", version=f"codemode-host {VERSION}")
    parser.add_argument(
        "--record",
        metavar="FILE",
        help="write every byte of the conversation to FILE (or FILE.2, FILE.3, … if it is there), for "
        "`codemode replay FILE` to show; it holds all that the "
        "scripts and the tools said, so only its owner may read it",
    )
    group = parser.add_argument_group("limits")
    for field, flag in FLAGS.items():
        default = getattr(usual.limits, field)
        group.add_argument(
            flag.flag,
            dest=field,
            type=_natural if flag.zero_allowed else _positive,
            default=0 if default is None else default // flag.unit,
            metavar="N",
            help=f"{flag.help} (default: %(default)s)",
        )
    return parser


def _control_place(text: str) -> str:
    """Accept `on`, `off`, or a folder, which must have a slash so that a typo does not create one."""
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
