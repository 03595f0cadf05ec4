"""The repository keeps what it says of itself: links, targets, locks, and what is shipped."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("codemode_protocol", "codemode_host", "codemode_client")
LOCKS = ("requirements/dev.txt", "requirements/runtime.txt")


@cache
def tracked() -> tuple[Path, ...]:
    """The files under version control that are there, relative to the root."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    # The owner of the folder may be somebody else, as in a container.
    command = ["git", "-c", "safe.directory=*", "-C", str(ROOT), "ls-files", "-z"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return tuple(Path(name) for name in listed.split("\0") if name and (ROOT / name).is_file())


def texts() -> Iterator[tuple[Path, str]]:
    for path in tracked():
        try:
            yield path, (ROOT / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture or the like


def documents() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".md"]


def without_blocks(markdown: str) -> str:
    return re.sub(r"^```.*?^```", "", markdown, flags=re.MULTILINE | re.DOTALL)


def anchors(markdown: str) -> set[str]:
    """The anchors of a page's headings, made as the common renderers make them."""
    headings = re.findall(r"^#+ +(.*?)\s*$", without_blocks(markdown), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# What documents promise


def test_links_between_documents_lead_somewhere() -> None:
    broken = []
    for document in documents():
        text = re.sub(r"`[^`\n]*`", "", without_blocks((ROOT / document).read_text()))
        for link in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+:", link):
                continue
            name, _, anchor = link.partition("#")
            target = (ROOT / document.parent / name) if name else ROOT / document
            if not target.exists():
                broken.append(f"{document}: {link}: no such file")
            elif anchor and target.suffix == ".md" and anchor not in anchors(target.read_text()):
                broken.append(f"{document}: {link}: no such heading")
    assert broken == []


def test_every_make_target_that_is_written_about_exists() -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = {"setup", "demo", "test", "check", "bench"}
    for document in [*map(ROOT.joinpath, documents()), ROOT / ".ci" / "run"]:
        named |= set(re.findall(r"(?:^|`|\$ )make ([a-z]+)", document.read_text(), flags=re.MULTILINE))
    assert named - targets == set()


def test_no_file_names_a_registry_or_this_machine() -> None:
    # Put together here, so that this file does not name them.
    hosts = [".".join(parts) for parts in (("pypi", "org"), ("files", "pythonhosted"), ("registry", "npmjs"))]
    places = [str(path) for path in (ROOT, Path.home()) if len(path.parts) > 1]
    patterns = [re.escape(host) for host in hosts]
    patterns += [rf"(?<![\w./-]){place}/" for place in [r"/(?:home|Users)/\w+", *map(re.escape, places)]]
    found = re.compile("|".join(patterns))
    assert [f"{path}: {match[0]}" for path, text in texts() for match in found.finditer(text)] == []


# Which Python it is set up with


def find_python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run tools/find-python where there is no Python but one of pyenv's, which is this one."""
    version = ".".join(map(str, sys.version_info[:3]))
    python = folder / "versions" / version / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(Path(sys.executable).resolve())
    shim = folder / "bin" / "python3"
    shim.parent.mkdir()
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    return subprocess.run(
        [ROOT / "tools" / "find-python", *arguments],
        cwd=folder,
        env={"PATH": str(shim.parent), "PYENV_ROOT": str(folder), "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("asked", [[], ["{}.{}".format(*sys.version_info)]])
def test_a_python_that_pyenv_has_but_not_switched_on_is_found(tmp_path: Path, asked: list[str]) -> None:
    found = find_python(tmp_path, *asked)
    assert (found.returncode, found.stderr) == (0, "")
    assert Path(found.stdout.strip()).is_relative_to(tmp_path / "versions")


def test_a_python_of_another_version_than_the_one_asked_for_is_none(tmp_path: Path) -> None:
    found = find_python(tmp_path, "3.10")
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr.startswith("No Python 3.10 with the venv")


# What is installed and shipped


def test_wheel_holds_the_three_packages_and_every_tracked_file_of_them(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    wanted = {path.as_posix() for path in tracked() if path.parts[0] in PACKAGES}
    assert wanted - shipped == set()
    assert {name.partition("/")[0] for name in shipped} == set(PACKAGES)
    assert {f"{package}/py.typed" for package in PACKAGES} <= shipped
    assert "codemode_host/runtimes/engine/prelude/capture.js" in shipped


def test_scripts_lead_to_functions() -> None:
    scripts = importlib.metadata.distribution("codemode-host").entry_points.select(group="console_scripts")
    assert {script.name for script in scripts} == {"codemode", "codemode-host"}
    assert all(callable(script.load()) for script in scripts)


def test_locks_pin_by_hash_all_that_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    runtime = project["project"]["dependencies"]
    asked = dict(zip(LOCKS, (runtime + project["dependency-groups"]["dev"], runtime), strict=True))
    for lock, wanted in asked.items():
        pinned = {}
        for entry in re.split(r"\n(?=[a-z])", (ROOT / lock).read_text()):
            if entry.startswith("#"):
                continue
            requirement = Requirement(entry.partition("\\")[0])
            assert "--hash=sha256:" in entry, f"{lock}: {requirement.name} has no hash"
            pinned[canonicalize_name(requirement.name)] = str(requirement.specifier).removeprefix("==")
        for requirement in map(Requirement, wanted):
            version = pinned.get(canonicalize_name(requirement.name))
            assert version is not None, f"{lock} has no {requirement.name}: run make lock"
            assert requirement.specifier.contains(version), f"{lock}: {requirement}: run make lock"


def test_no_lock_needs_npm_or_what_only_the_engines_package_needs() -> None:
    for lock in LOCKS:
        names = set(re.findall(r"^([\w.-]+)==", (ROOT / lock).read_text(), flags=re.MULTILINE))
        assert names & {"pminit", "aiohttp"} == set()


# How the packages are built


def test_package_inits_only_re_export() -> None:
    for path in ROOT.glob("codemode_*/**/__init__.py"):
        for statement in ast.parse(path.read_text()).body:
            docstring = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
            exports = isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__"
            allowed = docstring or exports or isinstance(statement, ast.Import | ast.ImportFrom) or _is_lazy(statement)
            assert allowed, f"{path.relative_to(ROOT)}:{statement.lineno}"


def _is_lazy(statement: ast.stmt) -> bool:
    """Part of a re-export that is imported when it is asked for: the types, where each is, and the import."""
    if isinstance(statement, ast.If):
        imports = all(isinstance(line, ast.Import | ast.ImportFrom) for line in statement.body)
        return ast.unparse(statement.test) == "TYPE_CHECKING" and imports and not statement.orelse
    if isinstance(statement, ast.Assign):
        return ast.unparse(statement.targets[0]) == "_HOMES"
    return isinstance(statement, ast.FunctionDef) and statement.name == "__getattr__"


# No I/O, no task, no clock: what the protocol says depends on the bytes alone.
NOT_IN_PROTOCOL = {"asyncio", "codemode_client", "codemode_host", "multiprocessing", "os", "pathlib", "select"}
NOT_IN_PROTOCOL |= {"selectors", "socket", "subprocess", "threading", "time", "trio"}


@pytest.mark.parametrize(
    ("package", "foreign"),
    [("codemode_protocol", NOT_IN_PROTOCOL), ("codemode_host", {"codemode_client"})],
)
def test_packages_build_on_each_other_in_one_direction(package: str, foreign: set[str]) -> None:
    found = []
    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            found += [f"{path.relative_to(ROOT)}: {name}" for name in names if name.split(".")[0] in foreign]
    assert found == []


@pytest.mark.parametrize(
    ("module", "slow"),
    [
        ("codemode_host.runtimes.zygote.main", {"asyncio", "trio", "msgspec"}),
        ("codemode_host.__main__", {"argparse", "trio", "msgspec", "typing"}),
        ("codemode_host.program", {"argparse", "trio", "msgspec"}),
    ],
)
def test_what_starts_first_imports_nothing_slow(module: str, slow: set[str]) -> None:
    """Imports are most of the time from spawning a host to the first result."""
    probe = f"import sys, {module}; print(*{slow!r} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-I", "-c", probe], check=True, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == []


def test_setup_leaves_bytecode_where_python_would_write_none() -> None:
    """A host that has to compile its modules takes a fifth longer to start."""
    sources = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    missing = [path for path in sources if not Path(importlib.util.cache_from_source(str(path))).exists()]
    assert missing == [], "run `make setup`"
