"""Makes or updates an environment from requirements/dev.txt, pyproject.toml and this Python; run by `make setup`.

The environment is .venv, or the one that is named. A record inside it says what it was made from. The record is removed
before any change and written last, so that an interrupted run starts again. A new lock or another Python means a new
environment, because packages that the lock no longer has must be removed; a new pyproject.toml only installs the
project again.
"""

from __future__ import annotations

import compileall
import fcntl
import hashlib
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
AGAIN = "--again"
ENVIRONMENT = ROOT / next((word for word in sys.argv[1:] if word != AGAIN), ".venv")
RECORD = ENVIRONMENT / "made-from.json"
LOCK = ROOT / "requirements" / "dev.txt"
PROJECT = ROOT / "pyproject.toml"
PACKAGES = ("codemode_protocol", "codemode_host", "codemode_client")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def base_python() -> str:
    """Return the interpreter from which the running one, possibly the environment's own, was made."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def wanted() -> dict[str, str]:
    """Return the record of an up-to-date environment. It has the path, because an environment cannot be moved."""
    return {
        "python": f"{base_python()} {sys.version}",
        "path": str(ENVIRONMENT),
        "lock": digest(LOCK),
        "project": digest(PROJECT),
    }


def present() -> dict[str, str]:
    """Return the record of the environment, empty if it is incomplete or missing."""
    try:
        record = json.loads(RECORD.read_text())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def pip(*arguments: str) -> None:
    # -qq: only errors. Without questions, and without a check for a newer pip.
    command = [str(ENVIRONMENT / "bin" / "python"), "-I", "-m", "pip", "-qq", "--disable-pip-version-check"]
    subprocess.run([*command, "--no-input", *arguments], check=True, cwd=ROOT, stdin=subprocess.DEVNULL)


def update(want: dict[str, str], have: dict[str, str]) -> None:
    RECORD.unlink(missing_ok=True)
    if {**have, "project": ""} != {**want, "project": ""}:
        if sys.prefix != sys.base_prefix and AGAIN not in sys.argv:
            # Not from under the running Python: the one that it came from makes the new environment.
            os.execv(base_python(), [base_python(), __file__, str(ENVIRONMENT), AGAIN])
        name, version = ENVIRONMENT.relative_to(ROOT), ".".join(map(str, sys.version_info[:3]))
        print(f"making {name}: Python {version}, packages of {LOCK.relative_to(ROOT)} …", flush=True)
        venv.create(ENVIRONMENT, clear=True, symlinks=True, with_pip=True)
        # The lock is complete, and leaves out on purpose what pythonmonkey's own metadata would add.
        pip("install", "--no-deps", "--only-binary=:all:", "--require-hashes", "-r", str(LOCK))
    pip("install", "--no-deps", "--no-build-isolation", "--editable", ".")
    partial = RECORD.with_suffix(".partial")
    partial.write_text(json.dumps(want, indent=1))
    partial.replace(RECORD)


def compile_packages() -> None:
    """Compile the project's bytecode, as an installation does.

    With PYTHONDONTWRITEBYTECODE, as in many containers, each host would otherwise compile it, for a fifth of its start.
    """
    for package in PACKAGES:
        compileall.compile_dir(ROOT / package, quiet=2)


def main() -> int:
    status = make_environment()
    if status == 0:
        compile_packages()
    return status


def make_environment() -> int:
    want = wanted()
    if present() == want:
        return 0
    with open(ROOT / ".setup.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Another run may have done it meanwhile.
        have = present()
        if have != want:
            try:
                update(want, have)
            except subprocess.CalledProcessError as error:
                return error.returncode
            except KeyboardInterrupt:
                return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
