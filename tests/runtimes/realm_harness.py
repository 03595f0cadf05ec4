"""A process that loads the engine once and runs each scenario in a forked child, as a cell's process would.

Started by conftest.py as ``python -I realm_harness.py REPOSITORY MODE``. MODE is `own` (single-threaded, the
engine's own job queue), `loop` (PythonMonkey's job queue) or `late` (fork first, then load). A line of JSON
in is a scenario, a line of JSON out is what happened. Time is virtual: timers fire in the order of their
deadlines as soon as nothing else is to do.
"""

from __future__ import annotations

import gc
import json
import mmap
import os
import resource
import signal
import struct
import sys
from typing import Any

sys.path.insert(0, sys.argv[1])

from codemode_host.runtimes.engine.loading import EngineError, EngineOptions, load, preload, self_check
from codemode_host.runtimes.engine.realm import Realm
from codemode_host.runtimes.link import EXIT_OUT_OF_MEMORY

OUTPUT_BYTES = 1 << 20
SECONDS = 30


class Cell:
    """What cell_main does, with the host's part played by the scenario."""

    def __init__(self, memory: mmap.mmap) -> None:
        self.memory = memory
        self.scenario: dict[str, Any] = {}
        self.events: list[list[str]] = []
        self.items: list[Any] = []
        self.calls: list[str] = []
        self.timers: list[tuple[int, int]] = []
        self.now = 0
        self.flushes = 0
        self.partial = b""
        self.at = 8
        self.reply = -1

    def emit(self, kind: str, text: str) -> None:
        assert (type(kind), type(text)) == (str, str)
        text.encode()  # well-formed
        if kind == "flush":
            self.read_output()
            self.at = 8
            self.flushes += 1
        elif kind == "timer":
            number, delay = text.split()
            self.timers.append((self.now + int(delay), int(number)))
            self.events.append([kind, text])
        elif kind == "exit":
            self.finish(text)
        else:
            assert kind in ("call", "clear", "notify", "yield"), kind
            self.events.append([kind, text])
            if kind == "call":
                self.calls.append(text)

    def read_output(self) -> None:
        (end,) = struct.unpack_from("<I", self.memory)
        while self.at < end:
            (header,) = struct.unpack_from("<I", self.memory, self.at)
            size, kind = header & 0x0FFFFFFF, header >> 28 & 7
            piece = self.memory[self.at + 4 : self.at + 4 + size]
            assert len(piece) == size
            self.at = (self.at + 4 + size + 3) & ~3
            self.partial += piece
            if not header >> 31:
                text = self.partial.decode("utf-16-le" if kind & 1 else "latin-1")
                self.items.append({"audio_url": text} if kind & 4 else json.loads(text) if kind & 2 else text)
                self.partial = b""
        assert self.at == end

    def finish(self, outcome: str | None) -> None:
        self.read_output()
        items = self.items
        if self.scenario.get("count_only"):
            items = [len(items), sum(map(len, items))]
        result = json.loads(outcome) if outcome is not None else None
        self.send({"items": items, "events": self.events, "outcome": result, "flushes": self.flushes})

    def send(self, answer: dict[str, Any]) -> None:
        data = json.dumps(answer).encode()
        while data:
            data = data[os.write(self.reply, data) :]
        os._exit(0)

    def run(self, realm: Realm, scenario: dict[str, Any]) -> None:
        self.scenario = scenario
        tools = [{"name": name, "description": f"desc {name}"} for name in scenario.get("tools", ["echo", "fail"])]
        stored = {key: json.dumps(value) for key, value in scenario.get("stored", {}).items()}
        realm.start(scenario["source"].encode(), json.dumps(tools).encode(), json.dumps(stored).encode())
        while True:
            realm.run_jobs()
            outcome = realm.finished()
            if outcome is not None:
                self.finish(outcome)
            if self.calls:
                calls, self.calls = self.calls, []
                realm.settle(("[" + ",".join(self.answer(call, tools) for call in calls) + "]").encode())
            elif self.timers:
                self.timers.sort()
                self.now, number = self.timers.pop(0)
                realm.fire(number)
            else:
                self.finish(None)

    def answer(self, call: str, tools: list[dict[str, str]]) -> str:
        serial, index, value = call.split(" ", 2)
        name = tools[int(index)]["name"]
        answers = self.scenario.get("answers", {})
        if name in answers:
            value = json.dumps(answers[name])
        return f'[{serial},false,"boom msg"]' if name == "fail" else f"[{serial},true,{value}]"


def main() -> None:
    mode = sys.argv[2]
    options = EngineOptions(native_jobs=mode != "loop", single_threaded=mode != "late")
    memory = mmap.mmap(-1, OUTPUT_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    cell = Cell(memory)
    facts: dict[str, Any] = {"mode": mode}
    realm = engine = None
    if mode == "late":
        preload()
    else:
        try:
            engine = load(options)
            self_check(engine)
            realm = Realm(engine, cell.emit, memoryview(memory))
            facts.update(single_threaded=engine.single_threaded, native_jobs=engine.native_jobs)
        except EngineError as error:
            facts["error"] = str(error)
        facts["modules"] = sorted(sys.modules)
        facts["threads"] = len(os.listdir("/proc/self/task"))
    print(json.dumps(facts), flush=True)
    gc.collect()
    gc.freeze()
    gc.disable()
    for line in sys.stdin:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(SECONDS)
            os.close(read)
            cell.reply = write
            try:
                if realm is None:
                    realm = Realm(load(options), cell.emit, memoryview(memory))
                scenario = json.loads(line)
                if scenario.get("prepare"):
                    realm.prepare()
                if "memory_limit" in scenario:
                    with open("/proc/self/status") as rows:
                        data = next(int(row.split()[1]) for row in rows if row.startswith("VmData:")) << 10
                    resource.setrlimit(resource.RLIMIT_DATA, (data + scenario["memory_limit"],) * 2)
                # What a confined process cannot do either: import, or open anything.
                sys.path.clear()
                resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
                cell.run(realm, scenario)
            except MemoryError:
                os._exit(EXIT_OUT_OF_MEMORY)  # as a cell's process does
            except BaseException as error:
                cell.send({"harness": repr(error)})
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            answer = pipe.read()
        _, status = os.waitpid(pid, 0)
        print(answer.decode() or json.dumps({"died": os.waitstatus_to_exitcode(status)}), flush=True)
    os._exit(0)  # PythonMonkey does not survive the end of the interpreter


main()
