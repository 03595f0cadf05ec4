"""The loop of a cell, without its engine: what it says on its link, what it makes of what it hears, how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from codemode_host.runtimes import link
from codemode_protocol.limits import CELL_STORED_TOO_LARGE, MAX_ITEM_JSON_BYTES, MIB, NOTIFICATION_TOO_LARGE

PREAMBLE = """
import heapq, json, os, sys, threading, time
from codemode_host.runtimes import link
from codemode_host.runtimes.cell import main as loop
reading, to_cell = os.pipe()
from_cell, writing = os.pipe()
memory = memoryview(bytearray(link.OUTPUT_BYTES))
memory[:4] = (4711).to_bytes(4, "little")
cell = loop._cell
cell.reading, cell.writing, cell.memory = reading, writing, memory
cell.poll.register(reading)
def tell(kind, payload=b""):
    os.write(to_cell, link.HEADER.pack(len(payload), kind, 0) + payload)
said = bytearray()
def listen():
    while data := os.read(from_cell, 1 << 20):
        said.extend(data)
listener = threading.Thread(target=listen)
listener.start()
def frames():
    "What the cell has said: kind, end, and the payload or its length."
    os.close(writing)
    listener.join()
    found, data = [], bytes(said)
    while data:
        length, kind, end = link.HEADER.unpack_from(data)
        payload = data[link.HEADER.size : link.HEADER.size + length]
        found.append([kind, end, payload.decode() if length < 1000 else [length, len(set(payload)), len(payload)]])
        data = data[link.HEADER.size + length :]
    return found
real_exit = os._exit
def leave(status):
    print(json.dumps([status, frames()]), flush=True)
    real_exit(status)
os._exit = leave
class Realm:
    "Does what the test says it does."
    prepared, started, events = 0, None, []
    results = iter([])
    def prepare(self): self.prepared += 1
    def start(self, *parts): self.events.append(["start", *(part.decode() for part in parts)])
    def run_jobs(self): self.events.append(["jobs"])
    def finished(self): return next(self.results, None)
    def fire(self, number): self.events.append(["fire", number])
    def settle(self, answers): self.events.append(["settle", answers.decode()])
realm = Realm()
"""


def run_cell(script: str) -> tuple[int, Any, str]:
    """Run a script in such a process: its status, what it printed, and its standard error."""
    command = [sys.executable, "-c", PREAMBLE + script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    lines = done.stdout.splitlines()
    return done.returncode, json.loads(lines[-1]) if lines else None, done.stderr


def show(script: str, shown: str) -> Any:
    status, printed, stderr = run_cell(f"{script}\nprint(json.dumps({shown}), flush=True)\nreal_exit(0)")
    assert status == 0, stderr
    return printed


def test_each_message_of_the_prelude_is_a_frame_that_says_how_far_was_written() -> None:
    script = "loop.emit('call', '1 0 é'); loop.emit('notify', 'n'); loop.emit('yield', '')"
    assert show(script, "frames()") == [
        [link.CALL, 4711, "1 0 é"],
        [link.NOTIFY, 4711, "n"],
        [link.YIELD, 4711, ""],
    ]


@pytest.mark.parametrize("size", [MIB - 1, MIB, 3 * MIB])
def test_a_frame_is_whole_however_large_it_is(size: int) -> None:
    assert show(f"loop.emit('call', 'x' * {size})", "frames()") == [[link.CALL, 4711, [size, 1, size]]]


def test_a_full_memory_is_flushed_and_what_comes_before_the_word_stays_in_order() -> None:
    script = (
        "tell(link.SETTLE, b'[1]'); tell(link.SETTLE, b'[22]'); tell(link.FLUSHED); tell(link.SETTLE, b'[333]')\n"
        "loop.emit('flush', '')\n"
        "taken = [loop._take_frame() for _ in range(3)]\n"
        "loop._take_frame() is None or 1 / 0\n"
    )
    assert show(script, "[[kind, data.decode()] for kind, data in taken] + frames()") == [
        [link.SETTLE, "[1]"],
        [link.SETTLE, "[22]"],
        [link.SETTLE, "[333]"],
        [link.FLUSH, 4711, ""],
    ]


def test_the_word_may_come_in_pieces() -> None:
    script = (
        "data = link.HEADER.pack(3, link.SETTLE, 0) + b'[1]' + link.HEADER.pack(0, link.FLUSHED, 0)\n"
        "def write():\n"
        "    for at in range(len(data)):\n"
        "        os.write(to_cell, data[at : at + 1]); time.sleep(0.002)\n"
        "writer = threading.Thread(target=write); writer.start()\n"
        "loop.emit('flush', ''); writer.join()\n"
        "kind, payload = loop._take_frame()\n"
    )
    assert show(script, "[kind, payload.decode(), loop._take_frame()]") == [link.SETTLE, "[1]", None]


def test_timers_are_kept_by_time_and_cleared_ones_taken_off_once_they_are_the_most() -> None:
    script = (
        "now = time.monotonic()\n"
        "for number, delay in ((1, 9000), (2, 1000), (3, 5000), (4, 7000)): loop.emit('timer', f'{number} {delay}')\n"
        "first = [cell.timers[0][1], round(cell.timers[0][0] - now), len(cell.timers)]\n"
        "loop.emit('clear', '2'); loop.emit('clear', '3')\n"
        "before = [len(cell.timers), sorted(cell.cleared)]\n"
        "loop.emit('clear', '1')\n"
        "after = [[number for _, number in cell.timers], sorted(cell.cleared)]\n"
        "loop.emit('clear', '4 5')\n"
    )
    shown = show(script, "[first, before, after, cell.timers, sorted(cell.cleared)]")
    assert shown == [[2, 1, 4], [4, [2, 3]], [[4], []], [], []]


@pytest.mark.parametrize(
    ("text", "sent"), [("'xxxx'", True), ("'xxxxx'", False), ("'éé'", True), ("'ééx'", False), ("'éxx'", True)]
)
def test_a_notification_that_is_too_long_ends_the_cell_with_the_reason(text: str, sent: bool) -> None:
    script = f"link.MAX_PAYLOADS[link.NOTIFY] = 4; loop.emit('notify', {text})"
    if sent:
        assert show(script, "len(frames())") == 1
    else:
        status, (told, frames), _ = run_cell(script)
        error = NOTIFICATION_TOO_LARGE(limit=MAX_ITEM_JSON_BYTES)
        assert (status, told) == (0, 0)
        assert frames == [[link.DONE, 4711, json.dumps({"error": error, "stored": {}}, separators=(",", ":"))]]


@pytest.mark.parametrize("fits", [True, False])
def test_an_end_that_is_too_long_stores_nothing(fits: bool) -> None:
    script = f"link.MAX_PAYLOADS[link.DONE] = {4 if fits else 3}; loop.emit('exit', 'éé')"
    status, (_, [(kind, _, text)]), _ = run_cell(script)
    assert (status, kind) == (0, link.DONE)
    if fits:
        assert text == "éé"
    else:
        error = CELL_STORED_TOO_LARGE(limit=link.MAX_END_CHARACTERS // MIB)
        assert json.loads(text) == {"error": error, "stored": {}}


def test_whatever_goes_wrong_in_a_message_ends_the_process() -> None:
    status, (_, frames), stderr = run_cell("loop.emit('nonsense', '')")
    assert (status, frames) == (link.EXIT_BROKEN, [])
    assert "the runtime is broken" in stderr
    assert "the prelude emitted 'nonsense'" in stderr
    exhausted = "class Text(str):\n    def encode(self): raise MemoryError\nloop.emit('call', Text('x'))"
    assert run_cell(exhausted)[0] == link.EXIT_OUT_OF_MEMORY


def start(*more: str) -> str:
    payload = "link.START_LENGTHS.pack(3, 2, 4) + b'one' + b'[]' + b'{11}'"
    return "\n".join([f"tell(link.START, {payload})", *more, "loop.run(realm, reading, writing, memory)"])


def test_a_script_is_started_with_its_parts_and_its_result_is_the_end() -> None:
    status, (_, frames), _ = run_cell(
        "realm.results = iter(['over'])\n"
        "def finished(): print(json.dumps([realm.prepared, realm.events, memory[link.STARTED]])); return 'over'\n"
        "realm.finished = finished\n" + start()
    )
    assert (status, frames) == (0, [[link.DONE, 4711, "over"]])


def test_answers_and_timers_come_to_the_realm_one_at_a_time_with_its_jobs_between() -> None:
    script = start(
        "tell(link.SETTLE, b'[1]')",
        "realm.results = iter([None, None, None, None])",
        "def fire(number):",
        "    realm.events.append(['fire', number])",
        "    if number == 9: tell(link.SETTLE, b'[2]')",
        "realm.fire = fire",
        "def settle(answers):",
        "    realm.events.append(['settle', answers.decode()])",
        "    if answers == b'[1]': loop.emit('timer', '9 99'); loop.emit('timer', '8 1'); loop.emit('timer', '7 9999')",
        "    else: sys.stderr.write(json.dumps(realm.events)); os.close(to_cell)",
        "realm.settle = settle",
    )
    status, (_, frames), stderr = run_cell(script)
    assert (status, frames) == (0, [])  # its link has ended
    jobs = ["jobs"]
    assert json.loads(stderr) == [
        *(["start", "one", "[]", "{11}"], jobs, ["settle", "[1]"]),
        *(jobs, ["fire", 8], jobs, ["fire", 9], jobs, ["settle", "[2]"]),
    ]


def test_a_runtime_prepares_itself_while_it_waits_for_long_and_not_when_its_script_is_there() -> None:
    tell_it = "def show(*_): sys.stderr.write(str(realm.prepared)); real_exit(0)\nrealm.start = show\n"
    assert run_cell(tell_it + start())[2] == "0"
    later = f"threading.Timer(0.3, lambda: exec({start()!r}.rpartition('\\n')[0])).start()\n"
    assert run_cell(tell_it + later + "loop.run(realm, reading, writing, memory)")[2] == "1"


@pytest.mark.parametrize("kind", [link.SETTLE, link.FLUSHED])
def test_what_may_not_come_before_the_script_ends_the_process(kind: int) -> None:
    status, _, stderr = run_cell(f"tell({kind})\nloop.run(realm, reading, writing, memory)")
    assert status == link.EXIT_BROKEN
    assert f"the host sent kind {kind} before the start" in stderr


def test_the_end_of_the_link_is_the_end_of_the_process_and_no_failure() -> None:
    assert run_cell("os.close(to_cell)\nloop.run(realm, reading, writing, memory)")[:2] == (0, [0, []])
    assert run_cell(start("os.close(to_cell)"))[:2] == (0, [0, []])


@pytest.mark.parametrize(
    ("error", "status"), [("MemoryError", link.EXIT_OUT_OF_MEMORY), ("ValueError", link.EXIT_BROKEN)]
)
def test_an_exception_in_the_loop_ends_the_process_with_its_status(error: str, status: int) -> None:
    assert run_cell(start(f"def broken(): raise {error}", "realm.run_jobs = broken"))[0] == status
