"""The TypeScript compiler, which npm fetches into `.reference/`, that git ignores.

It is the program that TypeScript's own package starts, in a package of its own; it needs no Node. Only the bytes that
were tried are ever run.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

VERSION = "7.0.2"
PACKAGE = f"@typescript/typescript-linux-x64@{VERSION}"
SHA512 = "EYdf2cNg7rgCWJnxCdJ+F3V39O8ihb37eHAu1LK8oAFizgTQbPOK7zHHXbPt8rX24COqODXeI3sIf0fCXG7H/A=="
FOLDER = Path(__file__).resolve().parents[2] / ".reference"
FETCH_SECONDS = 100
COMPILE_SECONDS = 50

OPTIONS = {
    "strict": True,
    "noEmit": True,
    "target": "esnext",
    "module": "esnext",
    "moduleDetection": "force",
    "lib": ["esnext"],
    "types": [],
    "pretty": False,
}


class CompilerMissing(Exception):
    """There is no compiler here; the text says why and what would help."""


def compiler(folder: Path = FOLDER) -> Path:
    """The program, fetched when need be, and tried once only. Raises CompilerMissing."""
    kept = folder / f"typescript-{VERSION}"
    if reason := _missing(kept):
        raise CompilerMissing(reason)
    return kept / "package" / "lib" / "tsc"


def complaints(folder: Path, files: Mapping[str, str]) -> list[str]:
    """The compiler's messages about these files, written to the folder, with all its checks. Raises CompilerMissing."""
    program = compiler()
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    project = {"compilerOptions": OPTIONS, "files": list(files)}
    (folder / "tsconfig.json").write_text(json.dumps(project))
    done = subprocess.run(
        [program, "--project", folder], cwd=folder, capture_output=True, text=True, timeout=COMPILE_SECONDS, check=False
    )
    messages = (done.stdout + done.stderr).splitlines()
    assert done.returncode == 0 or messages, f"the compiler ended with {done.returncode}"
    return messages


@cache
def _missing(kept: Path) -> str | None:
    """Fetch it unless it is there; what is in the way, or None."""
    if kept.exists():
        return None
    npm = shutil.which("npm")
    if npm is None:
        return f"npm is not installed, so {PACKAGE} cannot be fetched"
    kept.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
        command = [npm, "pack", PACKAGE, "--loglevel=error", "--fetch-retries=0", "--pack-destination", scratch]
        try:
            packed = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_SECONDS, check=True)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as failure:
            words = getattr(failure, "stderr", "") or failure
            return f"npm could not fetch {PACKAGE}: {' '.join(str(words).split())[:200]}"
        archive = Path(scratch) / packed.stdout.strip().splitlines()[-1]
        if base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode() != SHA512:
            return f"what npm fetched as {PACKAGE} is not what was tried"
        unpacked = Path(scratch) / "unpacked"
        with tarfile.open(archive) as package:
            package.extractall(unpacked, filter="data")
        try:
            unpacked.replace(kept)
        except OSError:  # somebody else was faster
            if not kept.exists():
                raise
    return None
