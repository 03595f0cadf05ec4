"""What every test shares: how async tests run, nothing is left behind, how much Hypothesis tries.

Async tests are plain `async def test_…` functions. Each runs in a run of its own, and fails after 60 seconds
(`@pytest.mark.time_limit(seconds)` says otherwise). Those of the client run on each of `LOOPS`, or on those that
`@pytest.mark.loops("trio", …)` names, "uvloop" among them; all others on trio. Fixtures are synchronous; what needs a
running loop is an async context manager in the test. The fixture `autojump_clock` gives the test a virtual clock, on
trio.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import os
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import anyio
import hypothesis
import pytest
import trio
import trio.abc
import trio.testing
import uvloop

from tests import seed
from tests.processes import list_children, list_descriptors

TESTS = Path(__file__).resolve().parent
TIME_LIMIT_SECONDS = 60.0
LOOPS = ("asyncio", "trio")
# What the client's tests are: these run on every loop.
ON_EVERY_LOOP = ("client", "e2e/test_client_", "e2e/test_agent_loop")
# Folders whose tests start processes: each test there must leave descriptors and children as it found them.
WATCHED = frozenset({"client", "e2e", "host", "interop"})
# How long exits that are already under way may take to show: closing is not always synchronous.
GRACE_SECONDS = 2.0
POLL_SECONDS = 0.005

hypothesis.settings.register_profile("default", deadline=None, derandomize=False, print_blob=True)
hypothesis.settings.register_profile(
    "fuzz",
    deadline=None,
    derandomize=False,
    max_examples=20_000,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(scope="session", autouse=True)
def runtime_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hosts that are killed leave their control sockets behind: here, and not where a user's hosts are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    # The seed of the run, unless `--hypothesis-seed` gives Hypothesis another.
    if config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = str(seed.SEED)
    # A run in the background of a shell without job control has Ctrl-C ignored, and so would every child that a test
    # starts. A handler of Python's own is not handed on: children have the usual one.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Examples alone must reach every branch of the protocol, whatever is drawn. Drawing takes four times as long while
    # coverage is measured, so property tests are not among them.
    for item in items:
        drawn = getattr(getattr(item, "obj", None), "is_hypothesis_test", False)
        if item.path.is_relative_to(TESTS / "protocol") and not drawn:
            item.add_marker("covered")


def pytest_report_header() -> str:
    """Return the setting that makes the same random choices again."""
    return f"{seed.VARIABLE}={seed.SEED}"


# Async tests


@pytest.fixture
def autojump_clock() -> trio.testing.MockClock:
    """The clock of this test's trio run: when every task waits, it jumps to the next deadline."""
    return trio.testing.MockClock(autojump_threshold=0)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if not _is_async(metafunc.function):
        return
    marker = metafunc.definition.get_closest_marker("loops")
    if marker is not None:
        loops = marker.args
    else:
        name = metafunc.definition.path.relative_to(TESTS).as_posix()
        virtual_time = "autojump_clock" in metafunc.fixturenames
        loops = LOOPS if name.startswith(ON_EVERY_LOOP) and not virtual_time else ("trio",)
    if loops != ("trio",):
        metafunc.fixturenames.append("loop")
        metafunc.parametrize("loop", loops)


def _is_async(function: Any) -> bool:
    handle = getattr(function, "hypothesis", None)
    return inspect.iscoroutinefunction(function if handle is None else handle.inner_test)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    function = pyfuncitem.obj
    limit = _time_limit(pyfuncitem)
    callspec = getattr(pyfuncitem, "callspec", None)
    loop = callspec.params.get("loop", "trio") if callspec is not None else "trio"
    handle = getattr(function, "hypothesis", None)
    if handle is not None and inspect.iscoroutinefunction(handle.inner_test):
        # Hypothesis calls the inner test once for each example: each is a run of its own.
        handle.inner_test = _synchronous(handle.inner_test, limit, loop)
        return None
    if not inspect.iscoroutinefunction(function):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(function).parameters}
    _synchronous(function, limit, loop)(**arguments)
    return True


def _time_limit(item: pytest.Function) -> float:
    marker = item.get_closest_marker("time_limit")
    return float(marker.args[0]) if marker is not None else TIME_LIMIT_SECONDS


def _synchronous(function: Callable[..., Coroutine[Any, Any, None]], limit: float, loop: str) -> Callable[..., None]:
    """The async test as a function that runs it on a loop. A clock among its arguments becomes the clock of the run."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> None:
        where: BaseException | None = None

        async def limited() -> None:
            nonlocal where
            if clock is not None:
                # Virtual time says nothing about how long a test takes.
                await function(*args, **kwargs)
                return
            with anyio.move_on_after(limit) as scope:
                try:
                    await function(*args, **kwargs)
                except BaseException as error:
                    where = error
                    raise
            if scope.cancelled_caught:
                # What was cancelled shows where each of the test's tasks stood.
                raise pytest.fail.Exception(f"still running after {limit:g} s") from where

        clocks = [value for value in (*args, *kwargs.values()) if isinstance(value, trio.abc.Clock)]
        clock = clocks[0] if clocks else None
        if loop == "trio":
            trio.run(limited, clock=clock, strict_exception_groups=True)
        elif loop == "uvloop":
            uvloop.run(limited())
        else:
            asyncio.run(limited())

    return run


# Nothing is left behind


def pytest_collection_finish() -> None:
    # The tests themselves, some hundred thousand objects, stay until the end: no collection need look at them.
    gc.collect()
    gc.freeze()
    # The first loop of uvloop opens a pipe that the process keeps: here, and not in the test that happens to be first.
    uvloop.new_event_loop().close()


@pytest.fixture(autouse=True)
def _nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that starts processes fails if it leaves a descriptor open, or a child running or unreaped."""
    if not WATCHED.intersection(request.path.relative_to(TESTS).parts[:-1]):
        yield
        return
    descriptors, children = list_descriptors(), _children()
    yield
    left = _wait_for_none_left(descriptors, children)
    if left:
        pytest.fail("left behind by this test:\n" + "\n".join(f"  {line}" for line in left), pytrace=False)


def _wait_for_none_left(descriptors: dict[int, str], children: dict[int, str]) -> list[str]:
    deadline = time.monotonic() + GRACE_SECONDS
    left = _left(descriptors, children)
    if left:
        # A cycle may hold what it opened. Only now: collecting takes longer than most tests do.
        gc.collect()
        left = _left(descriptors, children)
    while left and time.monotonic() <= deadline:
        time.sleep(POLL_SECONDS)
        left = _left(descriptors, children)
    return left


def _left(descriptors: dict[int, str], children: dict[int, str]) -> list[str]:
    """What there is now and was not there before, each in words."""
    left = [
        f"descriptor {number}: {target}"
        for number, target in list_descriptors().items()
        if descriptors.get(number) != target
    ]
    return left + [f"child {pid}: {what}" for pid, what in _children().items() if pid not in children]


def _children() -> dict[int, str]:
    """This process's children and their command lines, those that ended but were not reaped among them."""
    return {pid: _describe(pid) for pid in list_children(os.getpid())}


def _describe(pid: int) -> str:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        command = b""  # it ended meanwhile
    return command.rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace") or "ended, but was not reaped"
