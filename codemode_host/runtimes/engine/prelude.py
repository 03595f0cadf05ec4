"""Assembles the prelude's source from its fragments and the constants that other files declare.

A fragment for each topic is in `prelude/`. Together they are one function's body, in the order of `FRAGMENTS`, so that
each may use declarations of earlier ones. `capture.js` begins with the rules for all of them.
"""

from __future__ import annotations

import os

from codemode_host.runtimes import link
from codemode_protocol.helpers import NAMES
from codemode_protocol.limits import CELL_STORED_TOO_LARGE, MAX_JSON_DEPTH, MIB

FILE_NAME = "exec_main.mjs"
"""The file name in a script's own stack frames."""

FRAGMENTS = (
    *("capture", "output", "errors", "json", "outcome", "tools", "timers", "media", "settled", "helpers", "globals"),
    "wiring",
)

_CONSTANTS = {
    "AUDIO": link.AUDIO_LATIN1,
    "MAX_CALL": link.MAX_PAYLOADS[link.CALL],
    "MAX_END": link.MAX_END_CHARACTERS,
    "MAX_ERROR_TEXT": link.MAX_ERROR_TEXT,
    "MAX_JSON_DEPTH": MAX_JSON_DEPTH,
    "MAX_RECORDS": link.MAX_RECORDS,
    "IMAGE": link.IMAGE_LATIN1,
    "KIND_SHIFT": link.RECORD_KIND_SHIFT,
    "MORE": link.RECORD_MORE,
    "NO_PIECE_BELOW": link.NO_PIECE_BELOW,
    "OUTPUT_START": link.OUTPUT_START,
    "TEXT": link.TEXT_LATIN1,
    "WIDE": link.TEXT_UTF16 - link.TEXT_LATIN1,
}


def prelude_source() -> str:
    """Return the prelude: an expression whose value is a function of `emit`, JavaScript's only way out."""
    numbers = ", ".join(f"{name} = {value}" for name, value in _CONSTANTS.items())
    names = f'FILE = "{FILE_NAME}", GLOBAL_NAMES = " {" ".join(NAMES)} "'
    names += f', TOO_MUCH_STORED = "{CELL_STORED_TOO_LARGE(limit=link.MAX_END_CHARACTERS // MIB)}"'
    body = "\n".join(_read(f"{fragment}.js") for fragment in FRAGMENTS)
    return f'(emit) => {{\n"use strict";\nconst {numbers}, {names};\n{body}}}\n'


def warm_up_source() -> bytes:
    """Return a script that uses most of the prelude."""
    return _read("warm_up.js").encode()


def _read(name: str) -> str:
    with open(os.path.join(os.path.dirname(__file__), "prelude", name), encoding="utf-8") as file:
        return file.read()
