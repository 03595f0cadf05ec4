"""Runs cases against a host program. The answers are normalised JSON values that can be kept and compared."""

from __future__ import annotations

import functools
import itertools
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.interop.differential.cases import (
    Answer,
    Case,
    CellCase,
    CloseInput,
    Conversation,
    Failure,
    Message,
    Pause,
    Raw,
    Reply,
    Send,
    Until,
    UntilAll,
    Value,
)
from tests.interop.differential.driver import HostEnded, HostProcess

CASE_SECONDS = 15.0
"""The longest that a host may leave the driver waiting within a case."""

FAILURES = 5
"""A host that failed in so many cases of a theme is not asked any more."""

TIMING = re.compile(r',"(?:code_mode_host_duration_ns|result_buffered_for_ns)":\d+')
"""The reference's timing fields: they come last in their objects, and differ from run to run."""

CellAnswer = list[list[Any]]
"""The events of a cell case in their order: `["call", …]`, `["notify", text]`, `["yielded", items]`,
`["result", items, error]` and so on."""


@dataclass(frozen=True)
class HostProgram:
    """A host that can be started: its command line and environment."""

    argv: tuple[str, ...]
    env: dict[str, str]

    @classmethod
    def of(cls, *argv: str) -> HostProgram:
        """A program in this process's environment, in the time zone in which the recording was made."""
        return cls(argv, {**os.environ, "TZ": "UTC"})

    def start(self) -> HostProcess:
        """A fresh process of it."""
        return HostProcess(self.argv, self.env)


class CellRunner:
    """Runs many cell cases on one host process, each in a session of its own; a process that failed is replaced."""

    def __init__(self, program: HostProgram) -> None:
        self._program = program
        self._host: HostProcess | None = None
        self._requests = itertools.count(1)
        self._sessions = itertools.count(1)

    def close(self) -> None:
        """Take the host process away."""
        if self._host is not None:
            self._host.kill()
            self._host = None

    def run(self, case: CellCase) -> CellAnswer:
        """The events of one case. Raises DriverTimeout or HostEnded when the host does not keep up its side."""
        try:
            return self._run(case)
        except BaseException:
            self.close()
            raise

    def _running(self) -> HostProcess:
        if self._host is None:
            self._host = self._program.start()
            self._requests = itertools.count(1)
            self._host.hello()
        return self._host

    def _run(self, case: CellCase) -> CellAnswer:
        host = self._running()
        session = f"{case.name}-{next(self._sessions)}"
        host.request(next(self._requests), method="session/open", sessionId=session)
        host.receive(CASE_SECONDS)
        events: CellAnswer = []
        for source in case.sources:
            _CellRun(case, host, self._requests, session, events).run(source)
        last = next(self._requests)
        host.request(last, method="session/shutdown", sessionId=session)
        host.receive_until(lambda m: m["type"] == "operation/response" and m["id"] == last, CASE_SECONDS)
        return _cancels_sorted(events, _is_cancel_event)


class _CellRun:
    """One script of a case, from its execute to its cell's end."""

    def __init__(
        self, case: CellCase, host: HostProcess, requests: Iterator[int], session: str, events: CellAnswer
    ) -> None:
        self._case = case
        self._host = host
        self._requests = requests
        self._session = session
        self._events = events
        self._calls: dict[int, str] = {}
        self._asked: dict[str, int] = {}

    def run(self, source: str) -> None:
        request = {
            "tool_call_id": "call",
            "enabled_tools": [tool.wire() for tool in self._case.tools],
            "source": source,
            "yield_time_ms": 60_000,
            "max_output_tokens": None,
        }
        self._host.request(next(self._requests), method="session/execute", sessionId=self._session, request=request)
        while self._take(self._host.receive(CASE_SECONDS)):
            pass

    def _take(self, message: Message) -> bool:
        """Note one message and answer it; False after the last one of the cell."""
        match message:
            case {"type": "operation/response", "result": {"value": {"type": "execution/started"}}}:
                self._events.append(["started"])
            case {"type": "execute/initialResponse", "result": {"value": answer}}:
                self._outcome(answer)
            case {"type": "operation/response", "result": {"value": {"outcome": {"LiveCell": answer}}}}:
                self._outcome(answer)
            case {"type": "delegate/request", "id": int(delegate_id), "request": request}:
                self._delegate(delegate_id, request)
            case {"type": "delegate/cancel", "id": int(delegate_id)}:
                self._events.append(["cancelled", self._calls.get(delegate_id, "?")])
            case {"type": "cell/closed"}:
                self._events.append(["closed"])
                return False
            case _:
                self._events.append(["message", message])
                return "result" in message and message["result"].get("status") != "error"
        return True

    def _outcome(self, answer: Message) -> None:
        (kind, body), *_ = answer.items()
        event: list[Any] = [kind.lower(), [_item(item) for item in body["content_items"]]]
        if kind == "Result":
            event.append(body["error_text"])
        self._events.append(event)
        if kind == "Yielded":
            again = {"cell_id": body["cell_id"], "yield_time_ms": 60_000}
            self._host.request(next(self._requests), method="session/wait", sessionId=self._session, request=again)

    def _delegate(self, delegate_id: int, request: Message) -> None:
        if request["type"] == "notification/send":
            self._calls[delegate_id] = "notification"
            self._events.append(["notify", request["text"]])
            self._reply(delegate_id, _notification_result(self._case))
            return
        call = request["invocation"]
        name = call["tool_name"]["name"]
        self._calls[delegate_id] = call["runtime_tool_call_id"]
        self._events.append(["call", call["runtime_tool_call_id"], call["tool_name"], call["tool_kind"], call["input"]])
        answer = self._answer(name)
        if answer is Reply.WRONG_KIND:
            self._reply(delegate_id, {"status": "ok", "value": {"type": "notification/delivered"}})
        elif isinstance(answer, Failure):
            self._reply(delegate_id, {"status": "error", "message": answer.message})
        elif answer is not Reply.SILENT:
            value = answer.value if isinstance(answer, Value) else call["input"]
            self._reply(delegate_id, {"status": "ok", "value": {"type": "tool/result", "result": value}})

    def _answer(self, name: str) -> Answer:
        planned = self._case.answers.get(name, Reply.ECHO)
        if not isinstance(planned, tuple):
            return planned
        turn = self._asked.get(name, 0)
        self._asked[name] = turn + 1
        return planned[min(turn, len(planned) - 1)]

    def _reply(self, delegate_id: int, result: Message) -> None:
        self._host.send({"type": "delegate/response", "id": delegate_id, "result": result})


def _notification_result(case: CellCase) -> Message:
    if case.notifications == "refused":
        return {"status": "error", "message": "refused"}
    if case.notifications == "wrong kind":
        return {"status": "ok", "value": {"type": "tool/result", "result": None}}
    return {"status": "ok", "value": {"type": "notification/delivered"}}


def _is_cancel_message(said: str) -> bool:
    return said.startswith('{"type":"delegate/cancel"')


def _is_cancel_event(event: list[Any]) -> bool:
    return bool(event[0] == "cancelled")


def _cancels_sorted(events: list[Any], is_cancel: Callable[[Any], bool]) -> list[Any]:
    """The same events, each run of cancellations sorted: which call is cancelled first is luck on the reference."""
    ordered: list[Any] = []
    for cancels, run in itertools.groupby(events, is_cancel):
        found = list(run)
        ordered.extend(sorted(found) if cancels else found)
    return ordered


def _item(item: Message) -> Any:
    """A text item is its text; any other item stays an object."""
    if item.keys() == {"type", "text"} and item["type"] == "input_text":
        return item["text"]
    return item


def run_conversation(program: HostProgram, case: Conversation) -> Message:
    """What the host said and how it ended. Raises DriverTimeout, or HostEnded when a message never came."""
    with program.start() as host:
        said: list[str] = []
        if case.hello:
            host.hello()
        for step in case.steps:
            match step:
                case Send(messages):
                    host.send_many(messages)
                case Raw(data):
                    host.send_bytes(data)
                case Pause(seconds):
                    time.sleep(seconds)
                case CloseInput():
                    host.close_stdin()
                case Until():
                    _take_until(host, (step,), said)
                case UntilAll(wanted):
                    _take_until(host, wanted, said)
        ending = host.finish(CASE_SECONDS)
        if ending.status != 0 or not case.hello:
            said.extend(_normal(payload) for payload in ending.messages)
        return {
            "said": sorted(said) if case.unordered else _cancels_sorted(said, _is_cancel_message),
            "status": ending.status,
            "stderr": _first_words(ending.stderr),
        }


def _take_until(host: HostProcess, wanted: tuple[Until, ...], said: list[str]) -> None:
    deadline = time.monotonic() + CASE_SECONDS
    missing = list(wanted)
    while missing:
        try:
            payload = host.receive_bytes(max(deadline - time.monotonic(), 0.0))
        except (AssertionError, HostEnded) as failure:
            heard = "\n".join(said)
            raise type(failure)(f"waiting for {missing}: {failure}\nheard so far:\n{heard}") from None
        said.append(_normal(payload))
        message = json.loads(payload)
        missing = [until for until in missing if not _matches(message, until)]


def _matches(message: Message, until: Until) -> bool:
    return all(_reach(message, path) == value for path, value in until.fields.items())


def _reach(message: Any, path: str) -> Any:
    for name in path.split("."):
        if not isinstance(message, dict) or name not in message:
            return None
        message = message[name]
    return message


def _normal(payload: bytes) -> str:
    """A message as it stood on the wire, without the timing fields."""
    return TIMING.sub("", payload.decode("utf-8"))


def _first_words(stderr: str) -> str:
    """Standard error without stack traces and the reference's time-stamped warnings."""
    text = stderr.partition("\n\nStack backtrace")[0]
    return re.sub(r"(?m)^\S+Z +WARN .*\n?", "", text).strip()


@contextmanager
def cell_runner(program: HostProgram) -> Iterator[CellRunner]:
    """A runner of cell cases whose host is gone afterwards."""
    runner = CellRunner(program)
    try:
        yield runner
    finally:
        runner.close()


def run_all(program: HostProgram, cases: Sequence[tuple[str, Case]], patience: int = FAILURES) -> dict[str, Any]:
    """The answers of many cases by their ids; a failure is an answer too.

    Cells share one host process. Each conversation has its own, and as many go on side by side as there are processors.
    After so many failures the rest is not tried: each may have taken all the time that it had.
    """
    failures = itertools.count(1)
    given_up = False

    def attempt(run: Callable[[], Any]) -> Any:
        nonlocal given_up
        if given_up:
            return {"failure": "not tried, because others had failed before"}
        try:
            return run()
        except AssertionError as failure:
            given_up = next(failures) >= patience
            return {"failure": f"{type(failure).__name__}: {failure}"}

    talks = [(case_id, case) for case_id, case in cases if isinstance(case, Conversation)]
    with ThreadPoolExecutor(os.cpu_count()) as pool, cell_runner(program) as runner:
        conversations = pool.map(lambda talk: attempt(lambda: run_conversation(program, talk[1])), talks)
        answers = {
            case_id: attempt(functools.partial(runner.run, case))
            for case_id, case in cases
            if isinstance(case, CellCase)
        }
        answers.update(zip([case_id for case_id, _ in talks], conversations, strict=True))
    return {case_id: answers[case_id] for case_id, _ in cases}
