"""The cases in which our host is meant to answer otherwise than the reference, each with the reason.

A case that is in here must differ: when it no longer does, its line has to go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

ICU = "the engine brings the Unicode consortium's data in another version and selection"
NEWEST = "the engine has no DisposableStack, AsyncDisposableStack, SuppressedError"
PLAIN = "our helpers are plain functions, no constructors"
UNSTORABLE = "what cannot be stored or shown is named, where the reference shows its JSON parser's complaint"

KNOWN: Mapping[str, str] = {
    r"surface/global-names": NEWEST,
    r"surface/newest-language": NEWEST,
    r"surface/absent-debuggerGlobal": "the engine's glue defines it so that it cannot be deleted; it is emptied",
    r"surface/global-object": "the engine's global object inherits from Object.prototype itself",
    r"surface/error-own-names": "stack is an accessor that errors inherit",
    r"surface/no-caller": "the engine throws for caller of a strict function",
    r"surface/function-(text|image|store|load|notify|yield_control|setTimeout|clearTimeout|exit)": PLAIN,
    r"locales/(number-is-IS|segmenter-thai|supported)": ICU,
    r"modules/import-with-attributes": "the engine does not parse import attributes without being asked to",
    r"malformed/frame-(field|type)-twice": "of a field that comes twice the last value counts: the decoder cannot tell",
    r"malformed/frame-nested-too-deep": "the depth of JSON is bounded by memory, not at 127",
    r"yields/yield-asked-(by-the-client|for-nothing)": "operation/yield belongs to a capability that we do not offer",
    r"helpers/store-refuses-(function|symbol|to-json-undefined)": UNSTORABLE,
}
"""Patterns for whole case ids, and why their answers differ."""


def known_difference(case_id: str) -> str | None:
    """Why this case is meant to differ, or None when it is not."""
    for pattern, reason in KNOWN.items():
        if re.fullmatch(pattern, case_id):
            return reason
    return None
