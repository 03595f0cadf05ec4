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


def compiler() -> Path:
    """The program, fetched when need be. Raises CompilerMissing."""
    kept = FOLDER / f"typescript-{VERSION}"
    if not kept.exists():
        _fetch(kept)
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


def _fetch(kept: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise CompilerMissing(f"npm is not installed, so {PACKAGE} cannot be fetched")
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as scratch:
        command = [npm, "pack", PACKAGE, "--silent", "--fetch-retries=1", "--pack-destination", scratch]
        try:
            packed = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_SECONDS, check=True)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as failure:
            words = getattr(failure, "stderr", "") or str(failure)
            raise CompilerMissing(f"npm could not fetch {PACKAGE}: {str(words).strip()}") from failure
        archive = Path(scratch) / packed.stdout.strip().splitlines()[-1]
        if base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode() != SHA512:
            raise CompilerMissing(f"what npm fetched as {PACKAGE} is not what was tried")
        unpacked = Path(scratch) / "unpacked"
        with tarfile.open(archive) as package:
            package.extractall(unpacked, filter="data")
        unpacked.replace(kept)
