"""One script's realm: the prelude, its module, the answers to its calls, and its end.

Everything before `Realm.start` happens before the fork and is shared by all scripts. From `start` on the realm belongs
to one script, which may have replaced every builtin, so nothing here relies on answers that JavaScript could forge.
"""

from __future__ import annotations

import os
import sys

from codemode_host.runtimes import link
from codemode_host.runtimes.engine.loading import Engine, EngineError
from codemode_host.runtimes.engine.prelude import FILE_NAME, prelude_source, warm_up_source
from codemode_host.runtimes.engine.spidermonkey import FULFILLED, PENDING
from codemode_protocol.helpers import MODULES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from codemode_host.runtimes.engine.spidermonkey import ObjectRoot

_REHEARSALS = 150
"""The engine compiles to machine code what has run a hundred times; otherwise each cell would compile it again."""

_NO_ERROR = '{"error":null,'
_OUT_OF_MEMORY = '{"error":"out of memory","stored":{}}'


class Realm:
    """The prelude, evaluated in the engine of this process, and later one script in it.

    Args:
        engine: The engine.
        emit: Called with a kind (see the prelude's calls) and a text; must not raise.
        output: The writable memory for texts and images. Its address must stay valid forever.
    """

    def __init__(self, engine: Engine, emit: Callable[[str, str], None], output: memoryview) -> None:
        self._engine = engine
        self._interface = interface = engine.interface
        self._emit = emit
        self._output = output
        self._failed = False
        self._outcome = ""
        self.run_jobs: Callable[[], None] = engine.run_jobs
        """Run the script's promise jobs until there are none."""
        interface.set_property("outputMemory", interface.array_buffer(output))
        engine.evaluate(prelude_source(), "prelude.js")(self._receive)
        wiring = interface.take_object("wiring")

        def take(name: str) -> int:
            return interface.take(name, wiring)

        self._set_tools, self._set_stored, self._settle = take("setTools"), take("setStored"), take("settle")
        self._fire, self._finish, self._reset = take("fire"), take("finish"), take("reset")
        self._fail, self._uncompiled, self._unresolved = take("fail"), take("uncompiled"), take("unresolved")
        engine.evaluate("delete globalThis.wiring; undefined", "prelude.js")
        self._options = interface.compile_options(FILE_NAME)
        self._module = interface.object_root()
        self._promise = interface.object_root()
        self._helper_modules = {name: (interface.compile_options(name), interface.object_root()) for name in MODULES}
        refusal = interface.string("unsupported import in exec")
        interface.set_module_hooks(self._resolve, refusal)
        self._warm_up()

    def start(self, source: bytes, tools: bytes, stored: bytes) -> None:
        """Run the script up to its first await. If it does not compile, link or run, see `finished`.

        Args:
            source: The script, in UTF-8.
            tools: JSON ``[{"name": …, "description": …}, …]``, the names identifiers.
            stored: JSON ``{"key": "JSON text", …}``.
        """
        interface = self._interface
        self._check(interface.call(self._set_tools, tools))
        self._check(interface.call(self._set_stored, stored))
        if not interface.compile_module(self._options, source, self._module):
            self._take_failure(self._uncompiled)
        elif not (interface.link(self._module) and interface.evaluate(self._module, self._promise)):
            self._take_failure(self._fail)

    def settle(self, results: bytes) -> None:
        """Answer tool calls: JSON ``[[call id, ok, value or message], …]``. Runs no jobs."""
        self._check(self._interface.call(self._settle, results))

    def fire(self, timer_id: int) -> None:
        """Run a timer's callback, unless the timer was cleared. Runs no jobs."""
        self._check(self._interface.call_number(self._fire, timer_id))

    def finished(self) -> str | None:
        """Return None while the script runs, else JSON ``{"error": null or text, "stored": {"key": "JSON text"}}``."""
        interface = self._interface
        if not self._failed:
            state = interface.promise_state(self._promise)
            if state == PENDING:
                return None
            if state != FULFILLED:
                self._check(interface.call_with(self._fail, interface.promise_result(self._promise)))
        self._check(interface.call_number(self._finish, 0))
        if not self._outcome or (self._failed and self._outcome.startswith(_NO_ERROR)):
            return _OUT_OF_MEMORY  # too little was left to report anything
        return self._outcome

    def _receive(self, kind: str, text: str) -> None:
        # The arguments are views of JavaScript's memory; str() copies them.
        try:
            if kind == "outcome":
                self._outcome = str(text)
            elif kind == "failed":
                self._failed = True
            elif kind == "text":
                self._put(link.TEXT_LATIN1, str(text))
            elif kind == "image":
                self._put(link.IMAGE_LATIN1, str(text))
            elif kind == "audio":
                self._put(link.AUDIO_LATIN1, str(text))
            else:
                self._emit(str(kind), str(text))
        except MemoryError:
            os._exit(link.EXIT_OUT_OF_MEMORY)
        except BaseException:  # noqa: BLE001 - an exception would tell JavaScript about this process
            sys.excepthook(*sys.exc_info())
            os._exit(link.EXIT_BROKEN)

    def prepare(self) -> None:
        """Touch the memory that every script uses, in a freshly forked process. Optional, and only before `start`.

        After a fork, the pages of the engine's code and heap are mapped and copied one by one. That is most of the time
        of a small script; a process that waits for its script can do it beforehand.
        """
        self._rehearse(b"text(await tools.warm({}));", lambda: self.settle(b"[[1,true,1]]"))

    def rehearse(self) -> None:
        """Make the engine compile what every script runs to machine code. Optional, before the fork; takes 15 ms."""
        for _ in range(_REHEARSALS):
            self.prepare()

    def warm_up_locales(self) -> None:
        """Load the data for formatting dates and numbers in a locale. Optional, before the fork; takes 10 ms."""
        script = b"text(new Date(0).toLocaleString() + (1e6).toLocaleString() + 'b'.localeCompare('a'));"
        self._rehearse(script, lambda: None)

    def _warm_up(self) -> None:
        """Run a script that uses most of the prelude, so that forked processes find it compiled and in memory."""

        def answer() -> None:
            self.settle(b'[[1,true,{"a":[1,"b",null]}],[2,false,"no"]]')
            self.run_jobs()
            self.fire(1)

        result = self._rehearse(warm_up_source(), answer)
        if not result.startswith('{"error":"Error: warmed up\\n    at exec_main.mjs:'):
            raise EngineError(f"the prelude's warm-up ended with {result}")

    def _rehearse(self, source: bytes, answer: Callable[[], None]) -> str:
        emit, self._emit = self._emit, lambda _kind, _text: None
        self.start(source, b'[{"name":"warm","description":""}]', b'{"warm":"[1]"}')
        self.run_jobs()
        answer()
        self.run_jobs()
        result = self.finished()
        if result is None or not self._interface.call_number(self._reset, 0):
            raise EngineError("the prelude's warm-up does not end")
        self._failed, self._outcome, self._emit = False, "", emit
        self._module.object = self._promise.object = 0
        for _, root in self._helper_modules.values():
            root.object = 0  # it refers to the rehearsal's tools
        return result

    def _put(self, kind: int, text: str) -> None:
        """Write an item into the output memory; the prelude itself does that for short and very long ones."""
        try:
            data = text.encode("latin-1")
        except UnicodeEncodeError:
            data = text.encode("utf-16-le")
            kind |= link.TEXT_UTF16
        output, size = self._output, len(self._output)
        at, start = int.from_bytes(output[:4], "little"), 0
        while start < len(data):
            if len(data) - start > size - at - 4 and size - at < link.NO_PIECE_BELOW:
                self._emit("flush", "")
                at = link.OUTPUT_START
            piece = data[start : start + ((size - at - 4) & ~3)]
            start += len(piece)
            header = len(piece) | kind << link.RECORD_KIND_SHIFT | (link.RECORD_MORE if start < len(data) else 0)
            output[at : at + 4] = header.to_bytes(4, "little")
            output[at + 4 : at + 4 + len(piece)] = piece
            at = (at + 4 + len(piece) + 3) & ~3
            output[:4] = at.to_bytes(4, "little")

    def _check(self, done: bool) -> None:
        if not done:
            self._take_failure(self._fail)

    def _take_failure(self, report: int) -> None:
        interface = self._interface
        self._failed = True
        exception = interface.take_exception()
        if self._unresolved_import:
            self._unresolved_import = False
            interface.call_with(self._unresolved, interface.unresolved)
        elif exception is not None:
            interface.call_with(report, exception)
        else:
            interface.call(self._fail, b"out of memory")

    _unresolved_import = False

    def _resolve(self, is_named: Callable[[str], bool]) -> ObjectRoot | None:
        for name, exports in MODULES.items():
            if is_named(name):
                options, root = self._helper_modules[name]
                if not root.object:
                    # It runs before the modules that import it, so the globals are still the prelude's.
                    source = "export const " + ", ".join(f"{export} = globalThis.{export}" for export in exports)
                    if not self._interface.compile_module(options, source.encode(), root):
                        return None
                return root
        self._unresolved_import = True
        return None


__all__ = ["FILE_NAME", "EngineError", "Realm"]
