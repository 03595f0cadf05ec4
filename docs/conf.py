"""How `make docs` makes a site of these pages: Markdown as it is, and the reference from the docstrings."""

from __future__ import annotations

import enum
import inspect
import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = PROJECT["name"]
version = release = PROJECT["version"]
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"{project} {version}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False

# Headings have the anchors that they have where the pages are read as files.
myst_heading_anchors = 4

# What is between single backticks is code, and a link where it is a name that is known.
default_role = "py:obj"
add_module_names = False
python_display_short_literal_types = True
python_maximum_signature_line_length = 90

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autodoc_inherit_docstrings = False
# A default's name says more than its value.
autodoc_preserve_defaults = True

NAME = re.compile(r"[A-Za-z_][\w.]*")
MARKUP = re.compile(r"([\\*_|<>])")


def marked_up(text: str) -> str:
    """A docstring, which is plain text with code between backticks, as reStructuredText."""
    parts = text.split("`")
    for index, part in enumerate(parts):
        if index % 2 == 0:
            parts[index] = MARKUP.sub(r"\\\1", part)
        elif NAME.fullmatch(part):
            parts[index] = f":py:obj:`{part}`"
        else:
            parts[index] = f"``{part}``"
    return "".join(parts)


def process_docstring(app: Any, what: str, name: str, thing: object, options: Any, lines: list[str]) -> None:
    text = "\n".join(lines)
    if text.count("`") % 2:
        raise ValueError(f"{name}: a backtick without its other one")
    # A paragraph that is indented is shown as it is.
    pieces = re.split(r"\n\n((?: {4,}.*(?:\n|$))+)", text)
    for index, piece in enumerate(pieces):
        pieces[index] = marked_up(piece) if index % 2 == 0 else f"\n\n::\n\n{piece}"
    # The names in a section's entries are escaped by what reads the sections.
    lines[:] = [
        re.sub(r"^    [\w\\*]+:", lambda name: name[0].replace("\\", ""), line) for line in "".join(pieces).split("\n")
    ]


def process_signature(
    app: Any, what: str, name: str, thing: object, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Defaults that are no expressions."""
    return signature and re.sub(r"<(factory|[\w.]+ object)>", "...", signature), returns


def skip_member(app: Any, what: str, name: str, thing: object, skip: bool, options: Any) -> bool | None:
    """Classes and methods are shown without a docstring, too; fields are in the signature anyway."""
    if getattr(thing, "__module__", None) == "msgspec" or inspect.isbuiltin(thing):
        return True  # msgspec's own, which looks like the module's
    if name.startswith("_") or name in (options.exclude_members or ()):
        return None
    shown = inspect.isroutine(thing) or inspect.isclass(thing) or isinstance(thing, property | enum.Enum)
    return False if shown else None


def process_page(app: Any, page: str, source: list[str]) -> None:
    above = ROOT / f"{page.upper()}.md"
    if above.exists():
        # The links of a page that lies above this folder lead into it.
        text = above.read_text(encoding="utf-8").replace("](docs/", "](")
        source[0] = re.sub(r"\]\(([A-Z]+\.md)", lambda link: f"]({link[1].lower()}", text)
        app.env.note_dependency(str(above))
    # The drawings of states are for where pages are read as files; the tables below them say the same.
    source[0] = re.sub(r"^```mermaid\n.*?^```\n", "", source[0], flags=re.MULTILINE | re.DOTALL)


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", process_docstring, priority=400)  # before the sections are read
    app.connect("autodoc-process-signature", process_signature)
    app.connect("autodoc-skip-member", skip_member)
    app.connect("source-read", process_page)
