"""Shows the value of a script's last statement without changing what the script does."""

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
    """A script that also writes the value of its last statement, marked to distinguish it from other output.

    `script` first writes the mark alone. If its cell fails without the mark, nothing of it has run: the last statement
    was no expression, and the original can be run instead.
    """

    def __init__(self, original: Script, before: str, statement: str, after: str) -> None:
        secret = secrets.token_hex(16)
        text, show = f"$text_{secret}", f"$show_{secret}"
        self._mark = f"value {secret} "
        first = f'import {{ text as {text} }} from "@openai/code_mode"; {text}("{self._mark}");\n'
        call = f"{show}(("
        last = f"\nfunction {show}(value) {{ if (value !== undefined) {text}('{self._mark}' + inspect(value));\n"
        source = f"{first}{before}{call}{statement})){after}{last}{_inspect()}}}"
        inserted = Inserted(1, before.count("\n") + 1, len(before) - before.rfind("\n"), len(call))
        sent = msgspec.structs.replace(original.source, source=source)
        self.script = replace(original, source=sent, inserted=inserted)
        self.began = False
        """The mark was seen: the script has begun to run."""

    def value(self, item: ContentItem) -> str | None:
        """Return the value in an item of the output, empty for the mark alone; None for other output."""
        if not isinstance(item, InputText) or not item.text.startswith(self._mark):
            return None
        self.began = True
        return item.text.removeprefix(self._mark)


def showing(script: Script) -> Shown | None:
    """Return a script that shows its last value; None if its last statement cannot be an expression."""
    parts = split_last_expression(script.source.source)
    return Shown(script, *parts) if parts is not None else None


@cache
def _inspect() -> str:
    return files("codemode_client._cli.console").joinpath("inspect.js").read_text(encoding="utf-8")
