"""The value of a script's last statement, shown as a prompt shows it, without changing what the script does."""

from __future__ import annotations

import secrets
from dataclasses import replace
from functools import cache
from importlib.resources import files

import msgspec

from codemode_client._cli.console.javascript import split_last_expression
from codemode_client._cli.console.scripts import Inserted, Script
from codemode_protocol.values import ContentItem, InputText


class Shown:
    """A script that also writes the value of its last statement, and how to tell that from its other output.

    The first thing that `script` does is to write a mark. If its cell fails without the mark, nothing of it has run:
    the last statement was no expression after all, and the original can be run instead.
    """

    def __init__(self, original: Script, before: str, statement: str, after: str) -> None:
        secret = secrets.token_hex(16)
        text, show = f"$text_{secret}", f"$show_{secret}"
        self._mark = f"value {secret} "
        first = f'import {{ text as {text} }} from "@openai/code_mode"; {text}("{self._mark}");\n'
        call = f"{show}(("
        last = f"\nfunction {show}(value) {{ if (value !== undefined) {text}('{self._mark}' + inspect(value));\n"
        source = f"{first}{before}{call}{statement})){after}{last}{_inspect()}}}"
        inserted = Inserted(
            lines=1, line=before.count("\n") + 1, column=len(before) - before.rfind("\n"), width=len(call)
        )
        self.script = replace(
            original, source=msgspec.structs.replace(original.source, source=source), inserted=inserted
        )
        self.began = False
        """The mark was seen: the script has begun to run."""

    def value(self, item: ContentItem) -> str | None:
        """The value that an item of the output tells, empty for the mark alone; None for the script's own output."""
        if not isinstance(item, InputText) or not item.text.startswith(self._mark):
            return None
        self.began = True
        return item.text.removeprefix(self._mark)


def showing(script: Script) -> Shown | None:
    """The script made to show its last value; None when its last statement cannot be an expression."""
    parts = split_last_expression(script.source.source)
    return Shown(script, *parts) if parts is not None else None


@cache
def _inspect() -> str:
    return files("codemode_client._cli.console").joinpath("inspect.js").read_text(encoding="utf-8")
