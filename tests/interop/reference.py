"""Where the reference host is: a program that a variable names, or the one in a package that npm fetches.

The package is large and not ours, so it is never part of this repository: the host alone is kept in `.reference/`,
which git ignores, and only when its bytes are the ones that the recording was made with.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "@openai/codex@0.169.0-linux-x64"
MEMBER = "package/vendor/x86_64-unknown-linux-musl/bin/codex-code-mode-host"
SHA256 = "e9f2ef68671b2b6ac68902d19e8dafda3f5928e678ecf3f30c74b203a2c403ed"
VARIABLE = "CODEMODE_REFERENCE_HOST"
FOLDER = Path(__file__).resolve().parents[2] / ".reference"
FETCH_SECONDS = 600


class ReferenceMissing(Exception):
    """There is no reference host here; the text says why and what would help."""


def reference_host() -> Path:
    """The program to compare with, fetched when need be. Raises ReferenceMissing."""
    if named := os.environ.get(VARIABLE):
        path = Path(named)
        if not os.access(path, os.X_OK):
            raise ReferenceMissing(f"{VARIABLE} names {named}, which is no program")
        return path
    kept = FOLDER / "codex-code-mode-host"
    if not kept.exists():
        _fetch(kept)
    if _digest(kept) != SHA256:
        raise ReferenceMissing(f"{kept} is not the program that was recorded; remove it to fetch it again")
    return kept


def _fetch(kept: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise ReferenceMissing(
            f"npm is not installed, so {PACKAGE} cannot be fetched; or let {VARIABLE} name the program"
        )
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as scratch:
        try:
            packed = subprocess.run(
                [npm, "pack", PACKAGE, "--silent", "--pack-destination", scratch],
                capture_output=True,
                text=True,
                timeout=FETCH_SECONDS,
                check=True,
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as failure:
            words = getattr(failure, "stderr", "") or str(failure)
            raise ReferenceMissing(f"npm could not fetch {PACKAGE}: {words.strip()}") from failure
        archive = Path(scratch) / packed.stdout.strip().splitlines()[-1]
        unpacked = Path(scratch) / "host"
        with tarfile.open(archive) as package:
            member = package.extractfile(MEMBER)
            if member is None:
                raise ReferenceMissing(f"{PACKAGE} has no {MEMBER}")
            with member, unpacked.open("wb") as out:
                shutil.copyfileobj(member, out)
        unpacked.chmod(0o755)
        unpacked.replace(kept)


def _digest(path: Path) -> str:
    with path.open("rb") as program:
        return hashlib.file_digest(program, "sha256").hexdigest()
