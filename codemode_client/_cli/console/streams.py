"""Standard output and standard error, for text that scripts, tools, servers and hosts may have written."""

from __future__ import annotations

import sys

from codemode_protocol.printable import printable


def show(text: str) -> None:
    """Write a text and a line break to standard output. A terminal gets it printable, a file or a pipe as it is."""
    sys.stdout.write((printable(text) if sys.stdout.isatty() else text) + "\n")
    sys.stdout.flush()


def tell(text: str) -> None:
    """Write a text and a line break to standard error, printable."""
    sys.stderr.write(printable(text) + "\n")
    sys.stderr.flush()
