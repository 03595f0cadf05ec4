"""A client's and a host's connection that talk at random but by the rules.

Between them is a link that cuts, delays and interleaves their bytes.

Nothing here draws anything by itself: the caller that lets the two act says how to choose.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from msgspec import Raw

from codemode_protocol import messages as m
from codemode_protocol import values as v
from codemode_protocol.connection import ClientConnection, HostConnection
from codemode_protocol.ids import CellIds
from codemode_protocol.state import CellState, RequestState, SessionState

Choice = TypeVar("Choice")
Choose = Callable[[list[Choice]], Choice]
ENDED = (CellState.COMPLETED,)


@dataclass
class Exchange:
    """Both ends and all that is under way between them. `choose` picks one of a list that is not empty."""

    client: ClientConnection = field(default_factory=ClientConnection)
    host: HostConnection = field(default_factory=HostConnection)
    to_host: bytearray = field(default_factory=bytearray)
    to_client: bytearray = field(default_factory=bytearray)
    client_said: list[m.ClientMessage] = field(default_factory=list)
    host_said: list[m.HostMessage] = field(default_factory=list)
    host_heard: list[m.ClientMessage] = field(default_factory=list)
    client_heard: list[m.HostMessage] = field(default_factory=list)
    # What the owners of the two ends know: each what it was told by its own connection.
    sessions: list[str] = field(default_factory=list)
    requests: dict[int, m.Request] = field(default_factory=dict)
    cells: dict[tuple[str, str], None] = field(default_factory=dict)
    calls: dict[int, m.DelegateCall] = field(default_factory=dict)
    asked: dict[int, m.Request] = field(default_factory=dict)
    asked_of: dict[int, str] = field(default_factory=dict)
    observed: dict[int, str] = field(default_factory=dict)
    closer: dict[str, int] = field(default_factory=dict)
    cell_ids: dict[str, CellIds] = field(default_factory=dict)
    records: list[tuple[str, bytes]] = field(default_factory=list)
    """All bytes that were said, `to host` or `to client`."""

    def greet(self) -> None:
        """Do the handshake."""
        (hello,) = self.host.receive_data(self._record("to host", self.client.hello()))
        self.client.receive_data(self._record("to client", self.host.negotiate(hello)))

    def _record(self, direction: str, data: bytearray) -> bytearray:
        self.records.append((direction, bytes(data)))
        return data

    # -------------------------------------------------------------------------------------------------- the client

    def client_says(self, message: m.ClientMessage) -> None:
        """Put a message of the client under way."""
        self.to_host += self._record("to host", self.client.send(message))
        self.client_said.append(message)

    def ask(self, request: m.Request) -> None:
        """Put a request under way."""
        id = self.client.next_request_id()
        self.client_says(m.OperationRequest(id, request))
        self.requests[id] = request

    def open_sessions(self, *states: SessionState) -> list[str]:
        """Return the sessions that the client knows to be in one of these states."""
        return [session for session in self.sessions if self.client.session_state(session) in states]

    def client_acts(self, choose: Choose[Any]) -> None:
        """Do one thing of those that a client may do now."""
        can_execute = self.open_sessions(SessionState.OPEN)
        can_observe = self.open_sessions(SessionState.OPEN, SessionState.CLOSING)
        cancellable = [
            id
            for id, request in self.requests.items()
            if self.client.request_state(id) in (RequestState.PENDING, RequestState.STARTED)
        ]
        pending = [id for id in self.calls if self.client.call_is_pending(id)]
        actions: list[Callable[[], None]] = [self._open]
        if can_execute:
            session = choose(can_execute)
            actions.append(lambda: self.ask(m.Execute(session, v.ExecuteRequest("c", [], "1"))))
            actions.append(lambda: self.ask(m.ShutdownSession(session)))
        if can_observe:
            observed = choose(can_observe)
            cell = choose(["1", "2", "3"])
            actions.append(lambda: self.ask(m.Wait(observed, v.WaitRequest(cell, 1))))
            actions.append(lambda: self.ask(m.Terminate(observed, cell)))
        if cancellable:
            actions.append(lambda: self.client_says(m.OperationCancel(choose(cancellable))))
        if pending:
            actions.append(lambda: self._answer(choose(pending), fails=choose([True, False])))
        choose(actions)()

    def _open(self) -> None:
        session = f"s{len(self.sessions)}"
        self.sessions.append(session)
        self.ask(m.OpenSession(session))

    def _answer(self, id: int, *, fails: bool) -> None:
        value: m.DelegateValue = (
            m.ToolResult(Raw(b'{"a":[1.50,"\xc3\xa9"]}'))
            if isinstance(self.calls[id], m.InvokeTool)
            else m.NotificationDelivered()
        )
        self.client_says(m.DelegateResponse(id, m.Failure("no") if fails else m.Success(value)))

    def client_hears(self, data: bytes) -> None:
        """Let bytes arrive at the client."""
        for message in self.client.receive_data(data):
            self.client_heard.append(message)
            match message:
                case m.DelegateRequest(id, _, call):
                    self.calls[id] = call
                case m.OperationResponse(id, m.Success(m.ExecutionStarted(cell))):
                    self.cells[self.requests[id].session_id, cell] = None

    # ---------------------------------------------------------------------------------------------------- the host

    def host_says(self, message: m.HostMessage) -> None:
        """Put a message of the host under way."""
        self.to_client += self._record("to client", self.host.send(message))
        self.host_said.append(message)

    def live_cells(self) -> list[tuple[str, str]]:
        """Return the cells that the host has, with their sessions."""
        return [(session, cell) for session in self.cell_ids for cell in self.host.live_cells(session)]

    def host_acts(self, choose: Choose[Any]) -> None:
        """Do one thing of those that a host may do now, if there is any."""
        cells = self.live_cells()
        actions: list[Callable[[], None]] = []
        if self.asked:
            actions.append(lambda: self._respond(choose(list(self.asked)), choose))
        if self.observed:
            actions.append(lambda: self._initial(choose(list(self.observed)), choose))
        callers = [at for at in cells if self.host.cell_state(*at) not in ENDED]
        if callers:
            actions.append(lambda: self._call(*choose(callers), tool=choose([True, False])))
        calls = [id for at in cells for id in self.host.pending_calls(*at)]
        if calls:
            actions.append(lambda: self.host_says(m.DelegateCancel(choose(calls))))
        closable = [at for at in cells if at[1] not in self.observing(at[0]) and not self.host.pending_calls(*at)]
        if closable:
            actions.append(lambda: self.host_says(m.CellClosed(*choose(closable))))
        if actions:
            choose(actions)()

    def observing(self, session: str) -> set[str]:
        """Return the session's cells whose initial response is to come."""
        return {cell for id, cell in self.observed.items() if self.asked_of[id] == session}

    def _response(self, cell: str, choose: Choose[Any], *, ended: bool) -> v.RuntimeResponse:
        kinds: list[v.RuntimeResponse] = [v.Terminated(cell, []), v.Result(cell, [v.InputText("é")], None, 1, 2)]
        return choose(kinds if ended else [*kinds, v.Yielded(cell, [])])  # type: ignore[no-any-return]

    def _respond(self, id: int, choose: Choose[Any]) -> None:
        request = self.asked.pop(id)
        session = request.session_id
        state = self.host.session_state(session)
        there = state in (SessionState.OPEN, SessionState.CLOSING)
        value: m.OperationValue | None = None
        match request:
            case m.OpenSession() if self.host.refusal_to_open(id) is None and choose([True, True, False]):
                value = m.SessionReady(session)
                self.cell_ids[session] = CellIds()
            case m.Execute() if there and choose([True, True, False]):
                cell = self.cell_ids[session].allocate()
                value = m.ExecutionStarted(cell)
                self.observed[id] = cell
                self.asked_of[id] = session
            case m.Wait() | m.Terminate():
                cell = request.cell_id if isinstance(request, m.Terminate) else request.request.cell_id
                cell_state = self.host.cell_state(session, cell)
                outcome: v.Outcome = v.MissingCell(v.Result(cell, [], "not found"))
                if cell_state is not None:
                    outcome = v.LiveCell(self._response(cell, choose, ended=cell_state in ENDED))
                value = m.WaitCompleted(v.OutcomeEnvelope.of(outcome))
            case m.ShutdownSession() if id == self.closer.get(session) and choose([True, True, False]):
                if self.host.live_cells(session):
                    self.asked[id] = request  # later
                    return
                value = m.SessionClosed(session)
        if isinstance(request, m.ShutdownSession) and value is None:
            self.closer.pop(session, None)
        self.host_says(m.OperationResponse(id, m.Failure("no") if value is None else m.Success(value)))

    def _initial(self, id: int, choose: Choose[Any]) -> None:
        cell = self.observed.pop(id)
        state = self.host.cell_state(self.asked_of.pop(id), cell)
        response = self._response(cell, choose, ended=state in ENDED)
        self.host_says(m.InitialResponse(id, m.Success(v.ResponseEnvelope.of(response))))

    def _call(self, session: str, cell: str, *, tool: bool) -> None:
        invocation = v.ToolInvocation(cell, "tool-1", v.ToolName("a"), v.ToolKind.FUNCTION, Raw(b"[1]"))
        call: m.DelegateCall = m.InvokeTool(invocation) if tool else m.SendNotification("c", cell, "x")
        self.host_says(m.DelegateRequest(self.host.next_delegate_id(), session, call))

    def host_hears(self, data: bytes) -> None:
        """Let bytes arrive at the host."""
        for message in self.host.receive_data(data):
            self.host_heard.append(message)
            if isinstance(message, m.OperationRequest):
                self.asked[message.id] = message.request
                if isinstance(message.request, m.ShutdownSession):
                    self.closer.setdefault(message.request.session_id, message.id)

    # ---------------------------------------------------------------------------------------------------- the link

    def carry_to_host(self, size: int) -> None:
        """Let so many of the bytes under way arrive at the host."""
        data = bytes(self.to_host[:size])
        del self.to_host[:size]
        self.host_hears(data)

    def carry_to_client(self, size: int) -> None:
        """Let so many of the bytes under way arrive at the client."""
        data = bytes(self.to_client[:size])
        del self.to_client[:size]
        self.client_hears(data)

    def settle(self) -> None:
        """Let everything that is under way arrive."""
        self.carry_to_host(len(self.to_host))
        self.carry_to_client(len(self.to_client))
