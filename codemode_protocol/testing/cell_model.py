"""A cell that does as it is told, and a model of what a host says about it.

`SCRIPT` asks for orders by calls of the tool `next` and carries them out, so that their answers decide
what the cell does, one step after the other. A call that fails without having been refused was withdrawn: then the cell
does nothing more. The model is told the same steps and says which messages have to come.
They are plain data, as in the conversations.

A `Stage` is what comes before anything of the next one: strands, each in its order, that may be interleaved. Calls out
of a cell and answers to those who observe it are strands of one stage, for hosts may send them from different places.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from codemode_protocol.testing import words
from codemode_protocol.testing.patterns import Json

SCRIPT: Final = """\
await new Promise((resolve, reject) => {
  async function obey() {
    for (;;) {
      let orders;
      try {
        orders = await tools.next();
      } catch (refusal) {
        if (!String(refusal).startsWith("refused")) return;
        text(refusal);
        continue;
      }
      for (const [what, value] of orders) {
        if (what === "text") text(value);
        else if (what === "notify") notify(value);
        else if (what === "yield") yield_control();
        else if (what === "fork") obey();
        else {
          tools.mark();
          await tools.last();
          if (what === "exit") exit();
          if (what === "throw") reject(value);
          return resolve();
        }
      }
    }
  }
  obey();
});
"""

TOOLS: Final = ("next", "mark", "last")
"""What the script calls: for orders; what is never answered, but withdrawn when it has ended; what it ends after.

A call in the very turn in which a script ends may still be sent or not, so that it waits once more.
"""

Order = tuple[str, ...]
"""`("text", TEXT)`, `("notify", TEXT)`, `("yield",)`, `("fork",)`: ask for orders once more, besides;
`("end",)`, `("exit",)`, `("throw", TEXT)`: the last one of a cell.
"""

ENDING: Final = frozenset({"end", "exit", "throw"})

Stage = list[list[Json]]


class Phase(Enum):
    """Where a cell stands."""

    RUNNING = "running"
    FINISHING = "finishing"
    """Its script is over, and notifications are not answered."""
    KEPT = "kept"
    """It is over, and its result has not been taken."""
    CLOSED = "closed"


@dataclass
class CellModel:
    """What is known of one cell. Each method says what follows from it on the wire."""

    session: str
    cell: str
    execute_id: int
    observer: tuple[str, int] | None = None
    """Whom the next answer is for: `"execute"` or `"wait"`, and the id of that request."""
    phase: Phase = Phase.RUNNING
    asks: list[str] = field(default_factory=list)
    """Calls for orders that are not answered, by name."""
    notifications: list[str] = field(default_factory=list)
    """Notifications that are not answered, by name."""
    _mark: str | None = None
    _last: str | None = None
    _texts: list[str] = field(default_factory=list)
    _error: str | None = None
    _calls: int = 0
    _names: int = 0

    # ----------------------------------------------------------------------------------------------- what a client does

    def start(self, *, observed: bool) -> list[Stage]:
        """Begin. Not `observed`: by an execute whose yield time is zero, which is answered at once."""
        self.observer = ("execute", self.execute_id)
        asked = self._ask()
        answers = [] if observed else self._answer(words.yielded(cell=self.cell))
        return [[[words.started(self.execute_id, self.cell)]], [[asked], answers]]

    def obey(self, ask: str, orders: list[Order]) -> list[Stage]:
        """Let a call for orders be answered with these. After one that ends the script `finish` has to follow."""
        self.asks.remove(ask)
        calls: list[Json] = []
        answers: list[Json] = []
        for what, *value in orders:
            if what in ENDING:
                self._mark, called = self._call("mark")
                self._error = value[0] if what == "throw" else None
                self.phase = Phase.FINISHING
                self._last, called_last = self._call("last")
                return [[[*calls, called, called_last], answers]]
            match what:
                case "text":
                    self._texts += value
                case "notify":
                    name = self._name()
                    self.notifications.append(name)
                    calls.append(words.notified(name, value[0], cell=self.cell, session=self.session))
                case "yield":
                    answers += self._hand_over()
                case _:
                    calls.append(self._ask())
        return [[[*calls, self._ask()], answers]]

    def finish(self) -> tuple[str, list[Stage]]:
        """Let the script end, which waits for its last call to be answered; returns the name of that, too."""
        assert self._last is not None
        return self._last, self._finish()

    def refuse(self, ask: str, why: str) -> list[Stage]:
        """Let a call for orders fail, for a reason that begins with "refused"."""
        self.asks.remove(ask)
        self._texts.append(why)
        return [[[self._ask()]]]

    def deliver(self, notification: str) -> list[Stage]:
        """Let a notification be answered."""
        self.notifications.remove(notification)
        return self._finish() if self.phase is Phase.FINISHING else []

    def wait(self, id: int, *, patient: bool) -> list[Stage]:
        """Let it be observed: until it yields or ends, or not `patient`, for no time."""
        if self.phase is Phase.CLOSED:
            return [[[words.missing(id, self.cell)]]]
        if self.observer is not None:
            return [[[words.failed(id, f"exec cell {self.cell} already has an active observer")]]]
        self.observer = ("wait", id)
        if self.phase is Phase.KEPT:
            return self._close()
        return [] if patient else [[self._hand_over()]]

    def cancel(self, id: int) -> list[Stage]:
        """Let a request be taken back. Of one that is no pending wait nothing follows."""
        if self.observer != ("wait", id):
            return []
        self.observer = None
        return [[[words.failed(id, "code-mode request cancelled")]]]

    def terminate(self, id: int) -> list[Stage]:
        """Let it be terminated."""
        if self.phase is Phase.CLOSED:
            return [[[words.missing(id, self.cell)]]]
        if self.phase is Phase.KEPT:
            self.observer = ("wait", id)
            return self._close()
        response = words.terminated(*self._texts, cell=self.cell)
        return [*self._withdraw(), [[words.live(id, response), *self._stop()]]]

    def shut_down(self) -> list[Stage]:
        """Let its session be shut down. Its end is told to an observer alone."""
        return [*self._withdraw(), [self._stop()]]

    # ----------------------------------------------------------------------------------------------------- what follows

    def _ask(self) -> Json:
        name, called = self._call("next")
        self.asks.append(name)
        return called

    def _call(self, tool: str) -> tuple[str, Json]:
        name = self._name()
        self._calls += 1
        return name, words.called(name, number=self._calls, cell=self.cell, session=self.session, tool=tool)

    def _name(self) -> str:
        self._names += 1
        return f"{self.session}:{self.cell}:{self._names}"

    def _answer(self, response: Json) -> list[Json]:
        """Return the answer to the observer of the cell, if it has one."""
        if self.observer is None:
            return []
        (kind, id), self.observer = self.observer, None
        return [words.initial(id, response) if kind == "execute" else words.live(id, response)]

    def _hand_over(self) -> list[Json]:
        answer = self._answer(words.yielded(*self._texts, cell=self.cell))
        if answer:
            self._texts = []
        return answer

    def _finish(self) -> list[Stage]:
        if self.notifications:
            return []
        self.phase = Phase.KEPT
        withdrawn = self._withdraw()
        return withdrawn if self.observer is None else [*withdrawn, *self._close()]

    def _close(self) -> list[Stage]:
        self.phase = Phase.CLOSED
        response = words.result(*self._texts, cell=self.cell, error=self._error)
        return [[[*self._answer(response), words.closed(self.cell, self.session)]]]

    def _stop(self) -> list[Json]:
        self.phase = Phase.CLOSED
        response = words.terminated(*self._texts, cell=self.cell)
        return [*self._answer(response), words.closed(self.cell, self.session)]

    def _withdraw(self) -> list[Stage]:
        """Return the withdrawals of all calls that are not answered: which comes first is the host's business."""
        names = [*self.asks, *self.notifications, *([] if self._mark is None else [self._mark])]
        self.asks, self.notifications, self._mark = [], [], None
        return [[[words.withdrawn(name)] for name in names]] if names else []
