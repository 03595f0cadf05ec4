"""A V1 host without an engine: its cells run the one script of the test kit's state machine, and nothing else.

What it says can be tampered with on its way out, so that it is wrong in one way.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from typing import Any

from codemode_protocol import messages as m
from codemode_protocol import values as v
from codemode_protocol.connection import HostConnection
from codemode_protocol.errors import RemoteProtocolError
from codemode_protocol.ids import CellIds
from codemode_protocol.testing import Ending, NoMessage
from codemode_protocol.testing.cell_model import ENDING

Tamper = Callable[[dict[str, Any]], list[Any]]
"""Gives what is said in place of a message: JSON values, or bytes as they are."""


class Cell:
    """One run of the script."""

    def __init__(self, host: ToyHost, session: str, cell_id: str, execute_id: int) -> None:
        self.host, self.session, self.cell_id = host, session, cell_id
        self.observer: tuple[str, int] | None = ("execute", execute_id)
        self.calls: dict[int, str] = {}
        self.count = 0
        self.texts: list[str] = []
        self.error: str | None = None
        self.over = self.kept = False
        self.call("next")

    def call(self, tool: str) -> None:
        self.count += 1
        name = v.ToolName(tool)
        invocation = v.ToolInvocation(self.cell_id, f"tool-{self.count}", name, v.ToolKind.FUNCTION)
        self.calls[self.host.ask(self.session, m.InvokeTool(invocation))] = tool

    def answered(self, id: int, result: m.Success[m.DelegateValue] | m.Failure) -> None:
        tool = self.calls.pop(id)
        if tool == "last":
            self.over = True
        if self.over:
            self.finish()
        elif isinstance(result, m.Failure):
            self.texts.append(result.message)
            self.call("next")
        elif isinstance(result.value, m.ToolResult):
            for what, *value in json.loads(bytes(result.value.result)):
                if what in ENDING:
                    self.error = value[0] if what == "throw" else None
                    self.call("mark")
                    self.call("last")
                    return
                self.obey(what, *value)
            self.call("next")

    def obey(self, what: str, value: str = "") -> None:
        if what == "text":
            self.texts.append(value)
        elif what == "notify":
            self.calls[self.host.ask(self.session, m.SendNotification("call", self.cell_id, value))] = "notification"
        elif what == "fork":
            self.call("next")
        elif self.observer is not None:
            self.hand_over()

    def items(self) -> list[v.ContentItem]:
        return [v.InputText(text) for text in self.texts]

    def hand_over(self) -> None:
        self.answer(v.Yielded(self.cell_id, self.items(), 1))
        self.texts = []

    def answer(self, response: v.RuntimeResponse) -> None:
        if self.observer is not None:
            (kind, id), self.observer = self.observer, None
            if kind == "execute":
                self.host.say(m.InitialResponse(id, m.Success(v.ResponseEnvelope.of(response))))
            else:
                self.host.complete(id, v.LiveCell(response))

    def withdraw(self) -> None:
        for id in self.calls:
            self.host.say(m.DelegateCancel(id))
        self.calls = {}

    def finish(self) -> None:
        if "notification" not in self.calls.values():
            self.withdraw()
            self.kept = True
            self.deliver()

    def deliver(self) -> None:
        if self.kept and self.observer is not None:
            self.answer(v.Result(self.cell_id, self.items(), self.error, 0, 1))
            self.close()

    def terminate(self, id: int | None) -> None:
        if self.kept:
            self.observer = None if id is None else ("wait", id)
            self.deliver()
        else:
            self.withdraw()
            response = v.Terminated(self.cell_id, self.items())
            if id is not None:
                self.host.complete(id, v.LiveCell(response))
            self.answer(response)
        if self.cell_id in self.host.cells.get(self.session, {}):
            self.close()

    def close(self) -> None:
        del self.host.cells[self.session][self.cell_id]
        self.host.say(m.CellClosed(self.session, self.cell_id))


class ToyHost:
    """One run of it, as the test kit knows hosts."""

    def __init__(self, tamper: Tamper = lambda message: [message]) -> None:
        self.connection = HostConnection()
        self.cells: dict[str, dict[str, Cell]] = {}
        self.ids: dict[str, CellIds] = {}
        self.tamper = tamper
        self.said: deque[bytes] = deque()
        self.complaint = ""

    # The test kit's side

    def send(self, data: bytes) -> None:
        try:
            for message in self.connection.receive_data(data):
                self.hear(message)
            self.connection.raise_for_violation()
        except RemoteProtocolError as error:
            self.complaint = str(error)

    def receive(self) -> bytes:
        if self.said:
            return self.said.popleft()
        raise NoMessage("nothing", silent=True)

    def close_input(self) -> None:
        self.connection.receive_eof()

    def end(self) -> Ending:
        return Ending(list(self.said), 1 if self.complaint else 0, self.complaint)

    # The host's side

    def say(self, message: m.HostMessage) -> None:
        self.put(self.connection.send(message))

    def put(self, frame: bytearray) -> None:
        for one in self.tamper(json.loads(frame[4:])):
            self.said.append(one if isinstance(one, bytes) else json.dumps(one, ensure_ascii=False).encode())

    def ask(self, session: str, call: m.DelegateCall) -> int:
        id = self.connection.next_delegate_id()
        self.say(m.DelegateRequest(id, session, call))
        return id

    def complete(self, id: int, outcome: v.Outcome) -> None:
        self.say(m.OperationResponse(id, m.Success(m.WaitCompleted(v.OutcomeEnvelope.of(outcome)))))

    def hear(self, message: m.ClientMessage) -> None:
        match message:
            case m.Hello():
                self.put(self.connection.negotiate(message))
            case m.OperationRequest(id, request):
                self.request(id, request)
            case m.OperationCancel(id):
                for cell in self.all_cells():
                    if cell.observer == ("wait", id):
                        cell.observer = None
                        self.say(m.OperationResponse(id, m.Failure("code-mode request cancelled")))
            case m.DelegateResponse(id, result):
                (cell,) = [cell for cell in self.all_cells() if id in cell.calls]
                cell.answered(id, result)

    def all_cells(self) -> list[Cell]:
        return [cell for cells in self.cells.values() for cell in cells.values()]

    def request(self, id: int, request: m.Request) -> None:
        match request:
            case m.OpenSession(session):
                self.cells[session], self.ids[session] = {}, CellIds()
                self.say(m.OperationResponse(id, m.Success(m.SessionReady(session))))
            case m.Execute(session, what):
                cell_id = self.ids[session].allocate()
                self.say(m.OperationResponse(id, m.Success(m.ExecutionStarted(cell_id))))
                cell = self.cells[session][cell_id] = Cell(self, session, cell_id, id)
                if what.yield_time_ms == 0:
                    cell.hand_over()
            case m.Wait(session, waited):
                self.wait(id, session, waited)
            case m.Terminate(session, cell_id):
                if cell_id in self.cells[session]:
                    self.cells[session][cell_id].terminate(id)
                else:
                    self.miss(id, cell_id)
            case m.ShutdownSession(session):
                for cell in list(self.cells[session].values()):
                    cell.terminate(None)
                self.say(m.OperationResponse(id, m.Success(m.SessionClosed(session))))

    def wait(self, id: int, session: str, waited: v.WaitRequest) -> None:
        cell = self.cells[session].get(waited.cell_id)
        if cell is None:
            self.miss(id, waited.cell_id)
        elif cell.observer is not None:
            why = f"exec cell {waited.cell_id} already has an active observer"
            self.say(m.OperationResponse(id, m.Failure(why)))
        else:
            cell.observer = ("wait", id)
            cell.deliver()
            if waited.yield_time_ms == 0 and cell.observer is not None:
                cell.hand_over()

    def miss(self, id: int, cell_id: str) -> None:
        self.complete(id, v.MissingCell(v.Result(cell_id, [], f"exec cell {cell_id} not found")))
