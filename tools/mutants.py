"""Breaks the code in one place at a time and says which changes no test notices; run by `make mutants`.

    make mutants ARGS="--seed 7 --count 40 --package codemode_host"

The work tree is only read. Each worker has a copy of it, with a virtual environment that sees this project nowhere but
there: so every process that a test starts is as broken as the test's own. A change is judged by the tests of its module
(`find_tests`), the nearest first. The first that fails or hangs has noticed it; one that does so where nothing is
broken counts for nothing. What no test can notice is listed in `tools/equivalent_mutants.txt`, by id, and is not drawn.

Not one of the known tools: these change code in place or inside the test's own process, and here most code runs in
processes that are started with an empty environment.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import py_compile
import random
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tools.mutations import Mutation, find_mutations  # noqa: E402 - the folder is no package of the project's

PACKAGES = ("codemode_protocol", "codemode_host", "codemode_client")
EQUIVALENT = ROOT / "tools" / "equivalent_mutants.txt"

HANG_SECONDS = 90
"""A test that takes longer hangs. None takes a fifth of it on an idle machine."""

NEAREST = 2
"""So many test files are tried before all the others of a module."""

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36

# ------------------------------------------------------------------------------------------------- modules and tests

_CELLS = [
    *(f"tests/host/test_{name}.py" for name in ("lying_runtimes", "inprocess", "limits")),
    "tests/e2e/test_host_cells.py",
]
_RUNTIMES = [f"tests/runtimes/test_{name}.py" for name in ("runtime_link", "runtime_pool", "output", "stderr_lines")]
_PROCESSES = [f"tests/runtimes/test_{name}.py" for name in ("cell_loop", "zygote", "isolation", "pool", "confinement")]
_ENGINE = [f"tests/runtimes/test_{name}.py" for name in ("realm", "engine", "prelude", "prelude_extras", "hugetext")]
_HOST = [
    *(f"tests/host/test_{name}.py" for name in ("client_requests", "channel", "failures", "policies")),
    *("tests/host/test_cell_states.py", "tests/host/test_stderr.py"),
]
_SESSION = [
    *(f"tests/client/test_{name}.py" for name in ("driver_states", "host_session_states", "slow_hosts", "slots")),
    *(f"tests/client/test_{name}.py" for name in ("cancellation", "generations", "delegates", "child", "pipe_writer")),
    *(f"tests/client/test_{name}.py" for name in ("provider", "misbehaving_hosts")),
    *("tests/e2e/test_client_cells.py", "tests/e2e/test_client_loss.py"),
]
_CALLERS = [*(f"tests/client/test_{name}.py" for name in ("blocking_thread", "blocking")), "tests/e2e/test_callers.py"]

TESTS: list[tuple[str, list[str]]] = [
    ("codemode_protocol/control*", ["tests/protocol/test_control*.py", "tests/host/test_control*.py"]),
    ("codemode_protocol/typescript*", ["tests/protocol/test_[dt]*.py", "tests/e2e/test_declarations.py"]),
    ("codemode_protocol/testing/*", ["tests/protocol/test_testing*.py", "tests/e2e/test_conformance.py"]),
    ("codemode_protocol/*", ["tests/protocol/test_*.py"]),
    ("codemode_host/control/*", ["tests/host/test_control*.py", "tests/e2e/test_ps_and_kill.py"]),
    ("codemode_host/check.py", ["tests/host/test_check.py"]),
    ("codemode_host/runtimes/cell/*", [*_PROCESSES, *_ENGINE, *_CELLS]),
    ("codemode_host/runtimes/engine/*", [*_ENGINE, "tests/host/test_check.py", *_PROCESSES, *_CELLS]),
    (
        "codemode_host/runtimes/zygote/*",
        [*_PROCESSES, "tests/runtimes/test_hugetext.py", "tests/host/test_check.py", *_CELLS],
    ),
    ("codemode_host/runtimes/*", [*_RUNTIMES, *_HOST, *_PROCESSES, *_CELLS]),
    ("codemode_host/cells/*", [*_CELLS, *_HOST, "tests/host/test_control*.py"]),
    ("codemode_host/serving/*", [*_HOST, *_CELLS, "tests/host/test_supervision.py", "tests/e2e/test_command_line.py"]),
    ("codemode_host/inprocess.py", ["tests/host/test_inprocess.py", "tests/host/test_buffer_pieces.py"]),
    ("codemode_host/*", [*_HOST, *_CELLS, "tests/host/test_[cs]*.py", "tests/e2e/test_command_line.py"]),
    (
        "codemode_client/_loops/*",
        ["tests/client/test_*loop*.py", "tests/client/test_on_*.py", "tests/client/test_threads.py", *_SESSION],
    ),
    ("codemode_client/_process/*", _SESSION),
    (
        "codemode_client/_observability/*",
        [*(f"tests/client/test_{name}.py" for name in ("telemetry", "logging", "counters")), *_SESSION],
    ),
    ("codemode_client/_session/*", [*_SESSION, "tests/client/test_c*.py", "tests/client/test_telemetry.py"]),
    ("codemode_client/_tools/*", [f"tests/client/test_{name}.py" for name in ("*tool*", "f*", "d*", "mo*")]),
    (
        "codemode_client/_model/*",
        ["tests/client/test_model*.py", "tests/e2e/test_a*.py", "tests/e2e/test_client_m*.py"],
    ),
    ("codemode_client/*blocking*", _CALLERS),
    ("codemode_client/mcp/*", ["tests/client/test_mcp*.py", "tests/e2e/test_mcp*.py"]),
    ("codemode_client/_conformance/*", ["tests/e2e/test_conformance.py"]),
    ("codemode_client/_cli/commands/conformance.py", ["tests/e2e/test_conformance.py"]),
    ("codemode_client/hosts.py", ["tests/host/test_control*.py", "tests/e2e/test_ps_and_kill.py"]),
    (
        "codemode_client/_cli/console/*",
        [
            "tests/client/test_javascript.py",
            "tests/client/test_doctor_trial.py",
            "tests/e2e/test_repl.py",
            "tests/e2e/test_command_line.py",
        ],
    ),
    (
        "codemode_client/_cli/*",
        [
            *("tests/e2e/test_command_line.py", "tests/e2e/test_repl.py", "tests/e2e/test_ps_and_kill.py"),
            *("tests/e2e/test_tools_command.py", "tests/e2e/test_doctor.py", "tests/e2e/test_mcp.py"),
            "tests/client/test_doctor_trial.py",
        ],
    ),
    ("codemode_client/*", [*_SESSION, "tests/client/test_counters.py", "tests/client/test_imports.py", *_CALLERS]),
]
"""Modules, by path: the first line that fits is theirs. Before these tests come those that are named for the module."""


def find_modules(package: str) -> list[str]:
    """Return the paths of the modules of a package."""
    return sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / package).rglob("*.py"))


def find_all(packages: Sequence[str], modules: str = "") -> list[Mutation]:
    """Return all changes that can be made to the modules whose path has the regular expression `modules`."""
    paths = [module for package in packages for module in find_modules(package) if re.search(modules, module)]
    return [mutation for path in paths for mutation in find_mutations(path, (ROOT / path).read_text())]


def find_tests(module: str) -> list[str]:
    """Return the test files that judge a module, the nearest first."""
    name = Path(module).stem.strip("_").rstrip("s")
    patterns = next(tests for pattern, tests in TESTS if fnmatch(module, pattern))
    judges = [path for pattern in patterns for path in sorted(ROOT.glob(pattern))]
    judges.sort(key=lambda path: not re.match(rf"test_(.*_)?{name}", path.name))
    return [path.relative_to(ROOT).as_posix() for path in dict.fromkeys(judges) if path.name.startswith("test_")]


def read_equivalent() -> dict[str, str]:
    """Return the ids of mutations that no test can notice, with the reasons."""
    lines = (line.split(maxsplit=1) for line in EQUIVALENT.read_text().splitlines() if line and line[0] not in "# ")
    return {line[0]: line[1] for line in lines}


def draw(packages: Sequence[str], seed: int, count: int, modules: str) -> list[Mutation]:
    """Draw mutations: the packages alike, the kinds of change in turn, never a line twice."""
    equivalent = read_equivalent()
    drawn: list[Mutation] = []
    for number, package in enumerate(packages):
        chance = random.Random(f"{seed} {package}")
        kinds: dict[str, list[Mutation]] = defaultdict(list)
        for mutation in find_all([package], modules):
            if mutation.id not in equivalent:
                kinds[mutation.kind].append(mutation)
        for found in kinds.values():
            chance.shuffle(found)
        wanted = len(drawn) + count // len(packages) + (number < count % len(packages))
        lines: set[tuple[str, int]] = set()
        while kinds and len(drawn) < wanted:
            for kind in chance.sample(sorted(kinds), len(kinds)):
                while kinds[kind] and (kinds[kind][-1].path, kinds[kind][-1].line) in lines:
                    kinds[kind].pop()
                if not kinds[kind]:
                    del kinds[kind]
                elif len(drawn) < wanted:
                    drawn.append(kinds[kind].pop())
                    lines.add((drawn[-1].path, drawn[-1].line))
    return drawn


# ------------------------------------------------------------------------------------------------------------- judging


class Verdict(NamedTuple):
    """What came of a mutation."""

    mutation: Mutation
    outcome: str
    """noticed, hung, survived, or unclear: there was not enough time."""
    by: str
    seconds: float


class Worker:
    """A copy of the work tree, in which one mutation at a time is tried."""

    def __init__(self, folder: Path, limit: float) -> None:
        self._folder = folder
        self._limit = limit
        self._passed: set[str] = set()
        self._failed: list[str] = []
        listed = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, check=True, cwd=ROOT, capture_output=True, text=True).stdout
        for name in filter(None, names.split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
        self._python = folder / ".venv" / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / ".venv")], check=True)
        packages = Path(sysconfig.get_path("purelib"))
        own = folder / ".venv" / packages.relative_to(sys.prefix)
        # A folder that a .pth file names has its own .pth files left alone: the work tree stays out of it.
        (own / "mutants.pth").write_text(f"{folder}\n{packages}\n")
        for script in ("codemode", "codemode-host"):
            _, _, rest = Path(sys.executable).with_name(script).read_text().partition("\n")
            self._python.with_name(script).write_text(f"#!{self._python}\n{rest}")
            self._python.with_name(script).chmod(0o755)
        for path in (path for package in PACKAGES for path in (folder / package).rglob("*.py")):
            _compile(path)

    def judge(self, mutation: Mutation) -> Verdict:
        """Break the copy, run the tests, and put it right again."""
        begun, outcome, by = time.monotonic(), "survived", ""
        target = self._folder / mutation.path
        sound = target.read_text()
        tests = [test for test in find_tests(mutation.path) if (self._folder / test).exists()]
        try:
            target.write_text(mutation.apply(sound))
            _compile(target)
            # The nearest by themselves first: most changes are noticed there, and to load all the others takes longest.
            for some in filter(None, (tests[:NEAREST], tests[NEAREST:])):
                outcome, by = self._run(some)
                if outcome == "hung" and self._run([by])[0] == "survived":
                    outcome, by = self._run(some)  # the machine was busy
                while outcome in ("noticed", "hung") and not self._passes(by, target, sound):
                    target.write_text(mutation.apply(sound))
                    _compile(target)
                    outcome, by = self._run(some)
                if outcome != "survived":
                    break
        finally:
            target.write_text(sound)
            _compile(target)
        return Verdict(mutation, outcome, by, time.monotonic() - begun)

    def _passes(self, test: str, target: Path, sound: str) -> bool:
        """Return whether a test passes where nothing is broken; one that does not is not run any more."""
        name = test.partition("[")[0]
        if name not in self._passed:
            target.write_text(sound)
            _compile(target)
            if "::" not in name:  # a file that cannot be imported, or all of them
                outcome, by = self._run(["--collect-only", *name.split()])
                if outcome != "survived":
                    raise RuntimeError(f"the tests cannot be run where nothing is broken: {by}")
            elif self._run([name])[0] != "survived":
                self._failed.append(name)
                return False
            self._passed.add(name)
        return True

    def _run(self, tests: list[str]) -> tuple[str, str]:
        scratch = Path(tempfile.mkdtemp(dir=self._folder.parent))
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHON"))}
        environment |= {"TMPDIR": str(scratch), "PATH": f"{self._python.parent}:{os.environ.get('PATH', '')}"}
        command = [str(self._python), "-m", "pytest", "-x", "-v", "--tb=no", "-p", "no:cacheprovider", "-p", "no:xdist"]
        command += ["-o", f"faulthandler_timeout={HANG_SECONDS}", "-o", "faulthandler_exit_on_timeout=true", *tests]
        command += [f"--deselect={name}" for name in self._failed]
        with open(scratch / "output", "w+b") as output:
            process = subprocess.Popen(
                command,
                cwd=self._folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - this process has one thread
            )
            try:
                status = process.wait(self._limit)
            except subprocess.TimeoutExpired:
                status = -1
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            end_children()
            output.seek(0)
            text = output.read().decode(errors="replace")
        shutil.rmtree(scratch, ignore_errors=True)
        failed = re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", text, re.MULTILINE)
        begun = re.findall(r"^(tests/\S+::.+?)(?: +(?:PASSED|SKIPPED|XFAIL|Timeout).*)?$", text, re.MULTILINE)
        if f"Timeout (0:{HANG_SECONDS // 60:02}:{HANG_SECONDS % 60:02})" in text:
            return "hung", begun[-1] if begun else ""
        if status == -1:
            return "unclear", f"more than {self._limit:g} s"
        return ("noticed", failed[0] if failed else " ".join(tests)) if status else ("survived", "")


def _compile(path: Path) -> None:
    """Compile a module so that no time of a file is compared, whose last change may have been in the same second."""
    with suppress(py_compile.PyCompileError):
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        py_compile.compile(str(path), doraise=True, invalidation_mode=mode)


def end_children(seconds: float = 10.0) -> None:
    """Kill what a run has left behind. Orphans come to this process, which has asked for them."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        left = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        if not left:
            break
        for pid in map(int, left):
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


_worker: Worker


def _begin(folder: Path, limit: float) -> None:
    global _worker
    _die_with_parent()
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # The background job of a shell ignores Ctrl-C, and so would the programs that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _worker = Worker(Path(tempfile.mkdtemp(dir=folder)).resolve() / "tree", limit)


def _judge(mutation: Mutation) -> Verdict:
    return _worker.judge(mutation)


def main() -> int:
    """Draw, judge, and say what survived."""
    parser = argparse.ArgumentParser(description="Break the code in one place at a time; say what no test notices.")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000), help="what is drawn; by default any")
    parser.add_argument("--count", type=int, default=30, help="how many changes")
    parser.add_argument("--package", choices=PACKAGES, action="append", help="only of this one; may be repeated")
    parser.add_argument("--module", default="", help="only of modules whose path has this regular expression")
    parser.add_argument("--ids", default="", help="these changes and no others, separated by commas")
    parser.add_argument("--unused", action="store_true", help="only say which of the listed ids fit nothing any more")
    parser.add_argument("--list", action="store_true", help="only say what would be changed")
    parser.add_argument("--workers", type=int, default=2, help="how many at a time")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds for the tests of one change")
    options = parser.parse_args()

    packages = options.package or PACKAGES
    if options.unused:
        print(*sorted(read_equivalent().keys() - {mutation.id for mutation in find_all(PACKAGES)}), sep="\n")
        return 0
    if options.ids:
        mutations = [mutation for mutation in find_all(packages) if mutation.id in options.ids.split(",")]
    else:
        print(f"seed {options.seed}", flush=True)
        mutations = draw(packages, options.seed, options.count, options.module)
    if options.list:
        print(*mutations, sep="\n")
        return 0
    verdicts = []
    with (
        tempfile.TemporaryDirectory(prefix="mutants-", ignore_cleanup_errors=True) as folder,
        ProcessPoolExecutor(options.workers, initializer=partial(_begin, Path(folder), options.limit)) as pool,
    ):
        for judged in as_completed([pool.submit(_judge, mutation) for mutation in mutations]):
            verdict = judged.result()
            verdicts.append(verdict)
            by = f" by {verdict.by}" if verdict.by else ""
            print(f"{len(verdicts):3}/{len(mutations)} {verdict.outcome:8} {verdict.seconds:4.0f} s ", end="")
            print(f"{verdict.mutation}{by}", flush=True)
    print()
    for verdict in verdicts:
        if verdict.outcome in ("survived", "unclear"):
            print(f"{verdict.outcome}: {verdict.mutation}")
    drawn = Counter(verdict.mutation.path.partition("/")[0] for verdict in verdicts)
    noticed = Counter(v.mutation.path.partition("/")[0] for v in verdicts if v.outcome in ("noticed", "hung"))
    for package, number in drawn.items():
        print(f"{package}: {noticed[package]} of {number} noticed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
