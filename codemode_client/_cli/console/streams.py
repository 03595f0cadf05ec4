"""Standard output and standard error, for text that scripts, tools, servers and hosts may have written."""

from __future__ import annotations

import sys

from codemode_protocol.printable import printable


def show(text: str) -> None:
    """Write a text and a line break to standard output. A terminal gets it printable, a file or a pipe as it is."""
    sys.stdout.write((printable(text) if sys.stdout.isatty() else text) + "\n")
    sys.stdout.flush()


def report(text: str) -> None:
    """Write a text and a line break to standard output, printable."""
    sys.stdout.write(printable(text) + "\n")
    sys.stdout.flush()


def write_json(value: object) -> None:
    """Write one line of JSON to standard output: in UTF-8 in any locale, in ASCII to a terminal."""
    import msgspec

    line = msgspec.json.encode(value)
    if sys.stdout.isatty():
        import json

        line = json.dumps(msgspec.json.decode(line)).encode()
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


def tell(text: str) -> None:
    """Write a text and a line break to standard error, printable."""
    sys.stderr.write(printable(text) + "\n")
    sys.stderr.flush()
