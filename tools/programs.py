"""Takes the Python programs out of README.md and docs/*.md, for the type checkers; run by `make check`.

Each page is a package in build/programs, so that pages may have files of the same name. A block that begins with a
file's name (`# mytools.py`) is that module, any other one of its own, and blocks that continue each other are one. The
tests of the pages run them as they stand there.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = ROOT / "build" / "programs"
CONTINUED = frozenset({"model", "protocol", "tools"})
"""The pages on which a block goes on with the names of those before it."""


def programs(page: str, text: str) -> dict[str, str]:
    """Return the page's programs, by the names of their files."""
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    if page in CONTINUED:
        return {"page.py": "\n\n".join(blocks)}
    found: dict[str, str] = {}
    for number, block in enumerate(blocks, 1):
        named = re.match(r"# (\w+\.py)\n", block)
        found[named[1] if named else f"block_{number}.py"] = block
    own = "|".join(name.removesuffix(".py") for name in found)
    importing = re.compile(rf"^from (?=({own}) import)", re.MULTILINE)
    return {name: importing.sub("from .", program) for name, program in found.items()}


def main() -> None:
    shutil.rmtree(PROGRAMS, ignore_errors=True)
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        page = path.stem.lower().replace("-", "_")
        for name, program in programs(page, path.read_text(encoding="utf-8")).items():
            file = PROGRAMS / f"page_{page}" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            (file.parent / "__init__.py").touch()
            file.write_text(program, encoding="utf-8")


if __name__ == "__main__":
    main()
