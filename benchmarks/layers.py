"""Measures what each layer of a cell's confinement costs: the same scripts on hosts that do without one of them.

    python -m benchmarks.layers [--rounds N] [--samples N]

A host without a layer is a copy of this one in a temporary folder, with the call that puts the layer on taken out. The
hosts take turns. Prints the median time of an execute, and of a script that fills memory, in milliseconds, and their
ratios to those of the host with all layers.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import trio

from codemode_client import CodeModeProvider, Toolbox

ROOT = Path(__file__).parent.parent
PACKAGES = ("codemode_protocol", "codemode_host")

EXECUTE = "text(1)"
FILL = (
    "let kept = []; for (let i = 0; i < 300000; i++) { kept.push({ i, s: 'x' + i }); if (i % 50000 === 0) kept = []; }"
)


class Layer(NamedTuple):
    """A layer: its name, and for each file below `codemode_host/runtimes` what is replaced in it, and by what."""

    name: str
    changes: tuple[tuple[str, str, str], ...]


LAYERS = (
    Layer("all layers", ()),
    Layer("no filter of system calls", (("zygote/main.py", "seccomp=settings.confined", "seccomp=False"),)),
    Layer(
        "no other user, namespaces, Landlock",
        (
            ("zygote/main.py", "            flags |= isolate()\n", ""),
            ("zygote/main.py", "            forbid_files()\n", ""),
        ),
    ),
    Layer("no resource limits", (("zygote/main.py", "memory_limit=settings.memory_limit", "memory_limit=None"),)),
    Layer(
        "no lower priorities",
        (
            ("zygote/main.py", "        os.nice(NICENESS)\n", ""),
            ("cell/confinement.py", "        self._lower_priority.after_short_time()\n", ""),
        ),
    ),
    Layer(
        "no secrets of its own",
        (("zygote/main.py", "self._secrets.go_on(lambda: ", "(lambda function: function())(lambda: "),),
    ),
    Layer(
        "no guards of memory that runs out",
        (
            ("engine/exhaustion.py", "def guard(", "def guard(function, _):\n    return function\ndef _guard("),
            (
                "engine/exhaustion.py",
                "def guard_python_memory(",
                "def guard_python_memory(_):\n    pass\ndef _guard_python_memory(",
            ),
        ),
    ),
)


def make_host(layer: Layer, folder: Path) -> list[str]:
    """Return the command of a host without a layer, made in a folder."""
    if not layer.changes:
        return [sys.executable, "-m", "codemode_host"]
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, old, new in layer.changes:
        path = folder / "codemode_host" / "runtimes" / name
        text = path.read_text()
        if text.count(old) != 1:
            raise LookupError(f"{name} has {old!r} {text.count(old)} times: the code has changed")
        path.write_text(text.replace(old, new))
    return [
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {str(folder)!r}); import codemode_host.__main__ as m; m.main()",
    ]


async def measure(command: Sequence[str], samples: int) -> tuple[list[float], list[float]]:
    """Return how long executes and scripts that fill memory took, in milliseconds."""
    times: tuple[list[float], list[float]] = ([], [])
    async with CodeModeProvider(command) as provider, provider.session(Toolbox()) as session:
        for number in range(samples + 5):
            for source, taken in ((EXECUTE, times[0]), (FILL, times[1])):
                if source is FILL and number % 10:
                    continue
                start = time.perf_counter()
                (await session.run(source)).raise_for_error()
                if number >= 5:
                    taken.append((time.perf_counter() - start) * 1000)
                await trio.sleep(0.01)  # until the next runtime waits
    return times


def run(layers: Sequence[Layer], rounds: int, samples: int) -> list[tuple[str, float, float]]:
    """Return each layer's name and the two medians of the host without it."""
    found: list[tuple[list[float], list[float]]] = [([], []) for _ in layers]
    with tempfile.TemporaryDirectory() as folder:
        commands = [make_host(layer, Path(folder, str(number))) for number, layer in enumerate(layers)]
        for _ in range(rounds):
            for command, times in zip(commands, found, strict=True):
                executes, fills = trio.run(measure, command, samples)
                times[0].extend(executes)
                times[1].extend(fills)
    medians = ((statistics.median(executes), statistics.median(fills)) for executes, fills in found)
    return [(layer.name, *both) for layer, both in zip(layers, medians, strict=True)]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measures what each layer of a cell's confinement costs.")
    parser.add_argument("--rounds", type=int, default=4, help="turns of each host (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=100, help="executes in each turn (default: %(default)s)")
    options = parser.parse_args(argv)
    results = run(LAYERS, options.rounds, options.samples)
    _, execute, fill = results[0]
    print(f"{'milliseconds':<38}{'execute':>9}{'':9}{'fill':>9}")
    for name, one, other in results:
        print(f"{name:<38}{one:>9.2f}  ({one / execute:.2f}) {other:>9.1f}  ({other / fill:.2f})")


if __name__ == "__main__":
    main()
