"""Scripts that once did what no script may do, each with what that was. The ordinary suite runs them."""

from __future__ import annotations

CORPUS = {
    "its caller filled gigabytes with answers, and answered nothing else for minutes": "for (;;) tools.big(0);",
    "the host sent what it may not, for an answer came right behind the last receipt": (
        "for (let i = 0; i < 500; i++) { notify('n'); tools.echo(i); }"
    ),
}
