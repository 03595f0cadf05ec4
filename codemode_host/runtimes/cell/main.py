"""The main loop of a cell's process: runs one script to its end and serves the link.

Single-threaded and confined; JavaScript and this loop take turns. Any error here ends the process, which the host
notices, because the process can no longer be trusted.
"""

from __future__ import annotations

import heapq
import os
import select
import sys
import time

from codemode_host.runtimes import link
from codemode_host.runtimes.engine.realm import Realm
from codemode_protocol.limits import CELL_STORED_TOO_LARGE, MAX_ITEM_JSON_BYTES, MIB, NOTIFICATION_TOO_LARGE

TYPE_CHECKING = False  # importing typing takes 3 ms
if TYPE_CHECKING:
    from typing import NoReturn

_pack = link.HEADER.pack
_unpack_end = int.from_bytes


MAX_POLL_MS = 2**31 - 1
"""The longest that poll waits at a time."""

LARGE_PAYLOAD_BYTES = 1024 * 1024

IDLE_MS = 10
"""Milliseconds without a script after which a runtime prepares itself. Earlier it would delay a script that arrives."""


class _Cell:
    """The process's state, for `emit`."""

    def __init__(self) -> None:
        self.reading = -1
        self.writing = -1
        self.poll = select.poll()
        self.memory = memoryview(b"")
        self.buffer = bytearray()
        self.timers: list[tuple[float, int]] = []
        """A heap of times and ids. A cleared timer stays until it is due, or until half of all timers are cleared."""
        self.cleared: set[int] = set()


_cell = _Cell()


def emit(kind: str, text: str) -> None:
    """Handle a message of the prelude: JavaScript's only way out except the output memory.

    Never raises into JavaScript: a failure here ends the process.
    """
    try:
        if kind == "call":
            _send(link.CALL, text.encode())
        elif kind == "notify":
            _notify(text)
        elif kind == "timer":
            number, delay = text.split(" ")
            heapq.heappush(_cell.timers, (time.monotonic() + int(delay) / 1000, int(number)))
        elif kind == "clear":
            _clear_timers(text)
        elif kind == "yield":
            _send(link.YIELD, b"")
        elif kind == "flush":
            _send(link.FLUSH, b"")
            _await_flushed()
        elif kind == "exit":
            _finish(text)
        else:
            raise AssertionError(f"the prelude emitted {kind!r}")
    except MemoryError:
        os._exit(link.EXIT_OUT_OF_MEMORY)
    except BaseException:  # noqa: BLE001 - the process can no longer be trusted
        _panic()


def run(realm: Realm, reading: int, writing: int, memory: memoryview) -> NoReturn:
    """Serve one script over the link's two descriptors. Does not return."""
    try:
        _cell.reading, _cell.writing, _cell.memory = reading, writing, memory
        _cell.poll.register(reading, select.POLLIN)
        if not _cell.poll.poll(IDLE_MS):
            realm.prepare()  # while idle
        while (frame := _take_frame()) is None:
            _fill()
        kind, payload = frame
        if kind != link.START:
            raise AssertionError(f"the host sent kind {kind} before the start")
        memory[link.STARTED] = 1
        _start(realm, payload)
        _loop(realm)
    except MemoryError:
        os._exit(link.EXIT_OUT_OF_MEMORY)
    except BaseException:  # noqa: BLE001 - the process can no longer be trusted
        _panic()


def _start(realm: Realm, payload: bytes) -> None:
    source, tools, stored = link.START_LENGTHS.unpack_from(payload)
    at = link.START_LENGTHS.size
    realm.start(
        payload[at : at + source],
        payload[at + source : at + source + tools],
        payload[at + source + tools : at + source + tools + stored],
    )


def _loop(realm: Realm) -> NoReturn:
    poll = _cell.poll
    timers = _cell.timers
    while True:
        realm.run_jobs()
        result = realm.finished()
        if result is not None:
            _finish(result)
        while (frame := _take_frame()) is None:
            if not timers:
                _fill()
                continue
            remaining = timers[0][0] - time.monotonic()
            if remaining <= 0:
                break
            if poll.poll(min(remaining * 1000 + 0.999, MAX_POLL_MS)):
                _fill()
        if frame is None:
            _, number = heapq.heappop(timers)
            _cell.cleared.discard(number)
            realm.fire(number)
        elif frame[0] == link.SETTLE:
            realm.settle(frame[1])
        else:
            raise AssertionError(f"the host sent kind {frame[0]}")


def _clear_timers(numbers: str) -> None:
    timers, cleared = _cell.timers, _cell.cleared
    cleared.update(map(int, numbers.split(" ")))
    if 2 * len(cleared) > len(timers):
        timers[:] = [timer for timer in timers if timer[1] not in cleared]
        heapq.heapify(timers)
        cleared.clear()


def _notify(text: str) -> None:
    if len(text) <= link.MAX_PAYLOADS[link.NOTIFY]:
        payload = text.encode()
        if len(payload) <= link.MAX_PAYLOADS[link.NOTIFY]:
            _send(link.NOTIFY, payload)
            return
    _finish(f'{{"error":"{NOTIFICATION_TOO_LARGE(limit=MAX_ITEM_JSON_BYTES)}","stored":{{}}}}')


def _finish(result: str) -> NoReturn:
    payload = result.encode()
    if len(payload) > link.MAX_PAYLOADS[link.DONE]:  # a third of what JavaScript counts is as much again as UTF-8
        limit = link.MAX_END_CHARACTERS // MIB
        payload = f'{{"error":"{CELL_STORED_TOO_LARGE(limit=limit)}","stored":{{}}}}'.encode()
    _send(link.DONE, payload)
    os._exit(0)


def _await_flushed() -> None:
    """Read until the host has taken the output. Earlier answers to tool calls stay in the buffer."""
    scanned = 0
    while True:
        while len(_cell.buffer) - scanned >= link.HEADER.size:
            length, kind, _ = link.HEADER.unpack_from(_cell.buffer, scanned)
            end = scanned + link.HEADER.size + length
            if end > len(_cell.buffer):
                break
            if kind == link.FLUSHED:
                del _cell.buffer[scanned:end]
                return
            scanned = end
        _fill()


def _take_frame() -> tuple[int, bytes] | None:
    buffer = _cell.buffer
    if len(buffer) < link.HEADER.size:
        return None
    length, kind, _ = link.HEADER.unpack_from(buffer)
    end = link.HEADER.size + length
    if len(buffer) < end:
        return None
    payload = bytes(memoryview(buffer)[link.HEADER.size : end])
    del buffer[:end]
    return kind, payload


def _fill() -> None:
    data = os.read(_cell.reading, 1 << 16)
    if not data:
        os._exit(0)  # the host is gone
    _cell.buffer += data


def _send(kind: int, payload: bytes) -> None:
    header = _pack(len(payload), kind, _unpack_end(_cell.memory[:4], "little"))
    if len(payload) < LARGE_PAYLOAD_BYTES:
        _write(header + payload)
    else:  # a large one is not copied once more
        _write(header)
        _write(payload)


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(_cell.writing, view) :]


def complain() -> None:
    """Write the exception being handled and the process id to standard error, which the host keeps."""
    sys.stderr.write(f"[{os.getpid()}] the runtime is broken\n")
    sys.excepthook(*sys.exc_info())


def _panic() -> NoReturn:
    complain()
    os._exit(link.EXIT_BROKEN)
