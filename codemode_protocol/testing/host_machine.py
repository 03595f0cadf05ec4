"""A state machine that has conversations at random with a host, and knows what the host has to say.

Each rule is a request that a client may make; a model of the cells says what has to come of it. What concerns one cell
comes in its order; several cells are under way together, and theirs may come in between. Every message goes through a
`ClientConnection`, too, which knows the rules of the conversation.
"""

from __future__ import annotations

from codemode_protocol.testing import _hypothesis  # noqa: F401 - first, to say which extra is missing

# isort: split
from collections import deque

from hypothesis import HealthCheck, Verbosity, settings
from hypothesis import seed as with_seed
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.errors import HypothesisException
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from codemode_protocol.connection import ClientConnection
from codemode_protocol.errors import RemoteProtocolError
from codemode_protocol.framing import HEADER_BYTES
from codemode_protocol.ids import MAX_ID, MIN_ID
from codemode_protocol.messages import client_message_decoder
from codemode_protocol.testing import words
from codemode_protocol.testing.cell_model import SCRIPT, TOOLS, CellModel, Order, Phase, Stage
from codemode_protocol.testing.hosts import Dialogue, Differs, HostUnderTest, show_bytes
from codemode_protocol.testing.patterns import Json, fill

TEXTS = ("a", "é", "😀", '"\\', "one\ntwo\u2028", "{}", "x" * 300)
"""What cells say; none of it is blank."""

SESSIONS = ("s", "S", "ünï ☃", "a b", "`", "9")

texts: st.SearchStrategy[str] = st.sampled_from(TEXTS)
steps: st.SearchStrategy[Order] = st.one_of(
    st.tuples(st.just("text"), texts),
    st.tuples(st.just("notify"), texts),
    st.sampled_from([("yield",), ("fork",)]),
)
endings: st.SearchStrategy[Order] = st.sampled_from([("end",), ("exit",)]) | st.tuples(st.just("throw"), texts)
orders: st.SearchStrategy[list[Order]] = st.lists(steps, max_size=4)


class HostMachine(RuleBasedStateMachine):
    """Conversations with one host at a time. A subclass says how it is started and taken away.

    A rule fails with `Differs`, whose transcript has the whole conversation.
    """

    def start_host(self) -> HostUnderTest:
        """Start a host."""
        raise NotImplementedError

    def stop_host(self, host: HostUnderTest) -> None:
        """Take a host away, whatever it does. Called for each that was started."""

    def failing(self, differs: Differs) -> None:
        """Take note of what a conversation is about to fail with. Shorter ones may follow."""

    def __init__(self) -> None:
        super().__init__()
        self._failed = False
        """A host that once differed is asked nothing more."""
        self._client = ClientConnection()
        self._sessions: dict[str, list[CellModel]] = {}
        """Sessions that are open, with all cells that they ever had."""
        self._used_names = 0
        self._used_ids: set[int] = set()
        self._lanes: dict[object, deque[Stage]] = {}
        """What is to come, by what it is about."""
        self._dialogue: Dialogue | None = None

    # ------------------------------------------------------------------------------------------------------------ rules

    @initialize()
    def greet(self) -> None:
        """Do the handshake, and start a cell: most of what can be done needs one."""
        dialogue = self._dialogue = Dialogue(self.start_host())
        self._client.hello()
        dialogue.send(words.hello())
        self._expect("handshake", [[[words.ready()]]])
        self._settle("handshake")
        self._open("s", 1)
        self._start("s", 2, observed=True)

    @rule(name=st.sampled_from(SESSIONS), id=st.integers(MIN_ID, MAX_ID))
    def open_session(self, name: str, id: int) -> None:
        """Open a session under an id that was not used before."""
        if len(self._sessions) < 3:
            self._used_names += 1
            self._open(f"{name}{self._used_names}", id)

    @rule(data=st.data(), id=st.integers(MIN_ID, MAX_ID), observed=st.booleans())
    def execute(self, data: st.DataObject, id: int, *, observed: bool) -> None:
        """Start a cell that asks what to do."""
        if not self._sessions:
            return
        session = data.draw(st.sampled_from(sorted(self._sessions)), "session")
        if len(self._sessions[session]) < 5:
            self._start(session, id, observed=observed)

    @rule(data=st.data(), order=orders)
    def command(self, data: st.DataObject, order: list[Order]) -> None:
        """Have a cell do something, and ask again."""
        self._command(data, order)

    @rule(data=st.data(), order=orders, ending=endings)
    def end(self, data: st.DataObject, order: list[Order], ending: Order) -> None:
        """Have a cell do something, and end."""
        self._command(data, [*order, ending])

    @rule(data=st.data(), why=texts)
    def refuse(self, data: st.DataObject, why: str) -> None:
        """Answer a cell's question with an error."""
        if cell := self._cell(data, Phase.RUNNING):
            ask = data.draw(st.sampled_from(cell.asks), "call")
            self._send(words.refuse(ask, f"refused: {why}"))
            self._expect_of(cell, cell.refuse(ask, f"refused: {why}"))

    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        """Answer a notification."""
        cell = self._cell(data, Phase.RUNNING, Phase.FINISHING)
        if cell is not None and cell.notifications:
            notification = data.draw(st.sampled_from(cell.notifications), "notification")
            self._send(words.delivered(notification))
            self._expect_of(cell, cell.deliver(notification))

    @rule(data=st.data(), id=st.integers(MIN_ID, MAX_ID), patient=st.booleans())
    def wait(self, data: st.DataObject, id: int, *, patient: bool) -> None:
        """Observe a cell, whether it is there or not."""
        # A cell that finishes may refuse a second observer at once or when it has ended, and a wait without time, too.
        cell = self._cell(data, *Phase)
        if cell is not None and (cell.phase is not Phase.FINISHING or cell.observer is None):
            patient = patient or cell.phase is Phase.FINISHING
            time = words.LONG_MS if patient else 0
            id = self._request(words.wait, id, cell.cell, time, cell.session)
            self._expect_of(cell, cell.wait(id, patient=patient))

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """Take back the request that observes a cell."""
        cell = self._cell(data, Phase.RUNNING)
        if cell is not None and cell.observer is not None:
            _, id = cell.observer
            self._send(words.cancel(id))
            self._expect_of(cell, cell.cancel(id))

    @rule(data=st.data(), id=st.integers(MIN_ID, MAX_ID))
    def terminate(self, data: st.DataObject, id: int) -> None:
        """Terminate a cell, whether it is there or not."""
        # A cell that finishes may have ended before it is terminated, or not.
        if cell := self._cell(data, Phase.RUNNING, Phase.KEPT, Phase.CLOSED):
            id = self._request(words.terminate, id, cell.cell, cell.session)
            self._expect_of(cell, cell.terminate(id))

    @rule(data=st.data(), id=st.integers(MIN_ID, MAX_ID))
    def shut_down(self, data: st.DataObject, id: int) -> None:
        """Shut a session down, with all that runs in it."""
        if not self._sessions:
            return
        session = data.draw(st.sampled_from(sorted(self._sessions)), "session")
        if any(cell.phase is Phase.FINISHING for cell in self._sessions[session]):
            return
        cells = self._sessions.pop(session)
        self._settle(session)
        for cell in cells:
            self._settle((session, cell.cell))
        id = self._request(words.shutdown, id, session)
        for cell in cells:
            if cell.phase is not Phase.CLOSED:
                self._expect_of(cell, cell.shut_down())
        # That it comes after the last cell has closed is one of the connection's own rules.
        self._expect(session, [[[words.shut_down(id, session)]]])

    @rule()
    def settle(self) -> None:
        """Let everything arrive that is to come."""
        for lane in list(self._lanes):
            self._settle(lane)

    def teardown(self) -> None:
        """End the host's input: it has said all that was to come, says no more, and ends."""
        dialogue = self._dialogue
        if dialogue is None:
            return
        try:
            if not self._failed:
                self.settle()
                live = any(cell.phase is not Phase.CLOSED for cells in self._sessions.values() for cell in cells)
                dialogue.host.close_input()
                dialogue.expect_end(0, quiet=not live)
        except Differs as differs:
            if not self._failed:
                self.failing(differs)
            raise
        finally:
            self.stop_host(dialogue.host)

    # --------------------------------------------------------------------------------------------------- parts of these

    def _open(self, session: str, id: int) -> None:
        self._sessions[session] = []
        id = self._request(words.open_session, id, session)
        self._expect(session, [[[words.opened(id, session)]]])

    def _start(self, session: str, id: int, *, observed: bool) -> None:
        self._settle(session)
        time = words.LONG_MS if observed else 0
        id = self._request(words.execute, id, SCRIPT, session, tools=TOOLS, yield_time_ms=time)
        cells = self._sessions[session]
        cell = CellModel(session, str(len(cells) + 1), id)
        cells.append(cell)
        self._expect_of(cell, cell.start(observed=observed))

    def _cell(self, data: st.DataObject, *phases: Phase) -> CellModel | None:
        """Choose a cell of these phases, about which nothing is to come; None when there is none."""
        cells = [cell for session in sorted(self._sessions) for cell in self._sessions[session] if cell.phase in phases]
        if not cells:
            return None
        cell = data.draw(st.sampled_from(cells), "cell")
        self._settle((cell.session, cell.cell))
        return cell

    def _command(self, data: st.DataObject, order: list[Order]) -> None:
        if cell := self._cell(data, Phase.RUNNING):
            ask = data.draw(st.sampled_from(cell.asks), "call")
            self._send(words.answer(ask, order))
            self._expect_of(cell, cell.obey(ask, order))
            if cell.phase is Phase.FINISHING:
                self._settle((cell.session, cell.cell))
                last, stages = cell.finish()
                self._send(words.answer(last, None))
                self._expect_of(cell, stages)

    def _request(self, make: object, id: int, *arguments: object, **options: object) -> int:
        """Send a request, under this id or the next one that was not used; returns it."""
        while id in self._used_ids:
            id = id + 1 if id < MAX_ID else MIN_ID
        self._used_ids.add(id)
        self._send(make(id, *arguments, **options))  # type: ignore[operator]
        return id

    def _send(self, message: Json) -> None:
        assert self._dialogue is not None
        filled = fill(message, self._dialogue.names)
        (payload,) = self._dialogue.send(filled)
        self._client.send(client_message_decoder.decode(payload))

    def _expect_of(self, cell: CellModel, stages: list[Stage]) -> None:
        self._expect((cell.session, cell.cell), stages)

    def _expect(self, lane: object, stages: list[Stage]) -> None:
        told = ([strand for strand in map(list, stage) if strand] for stage in stages)
        self._lanes.setdefault(lane, deque()).extend(stage for stage in told if stage)

    def _settle(self, lane: object) -> None:
        """Receive until nothing is to come about this."""
        while self._lanes.get(lane):
            self._receive()
        self._lanes.pop(lane, None)

    def _receive(self) -> None:
        """Receive one message, which has to be one of those that can come next."""
        assert self._dialogue is not None
        strands = [(lane, strand) for lane in self._lanes.values() if lane for strand in lane[0]]
        try:
            index, payload = self._dialogue.take([strand[0] for _, strand in strands])
            self._check(self._dialogue, payload)
        except Differs as differs:
            self._failed = True
            self.failing(differs)
            raise
        lane, strand = strands[index]
        del strand[0]
        if not strand:
            lane[0].remove(strand)
        if not lane[0]:
            lane.popleft()

    def _check(self, dialogue: Dialogue, payload: bytes) -> None:
        """Let the connection look at a message, too."""
        try:
            self._client.receive_data(len(payload).to_bytes(HEADER_BYTES, "little") + payload)
            self._client.raise_for_violation()
        except RemoteProtocolError as error:
            raise dialogue.differs("what the rules allow", f"{show_bytes(payload)}: {error}") from None


def run_host_machine(
    machine: type[HostMachine], seed: int, *, conversations: int, steps: int, storage: str | None = None
) -> None:
    """Have conversations at random with a host, without a test runner.

    Args:
        machine: A subclass that starts the host. What its `failing` was told last, or with the shortest transcript, is
            what to show: a host that differs now and then may differ in another way at last, or not at all.
        seed: Makes the same choices again.
        conversations: How many there are, if the host differs in none of them.
        steps: How many steps each has at most.
        storage: The folder in which Hypothesis keeps what it finds out about itself; None for its usual one, which is
            in the current directory.

    Raises:
        Differs: The host does not do what it should.
    """
    how = settings(
        max_examples=conversations,
        stateful_step_count=steps,
        database=None,
        deadline=None,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    if storage is not None:
        set_hypothesis_home_dir(storage)
    try:
        run_state_machine_as_test(with_seed(seed)(machine), settings=how)
    except (HypothesisException, BaseExceptionGroup) as error:
        # So Hypothesis complains of a host that differs now and then.
        raise Differs("the same answers to the same conversation", f"others: {error}") from error
    finally:
        if storage is not None:
            set_hypothesis_home_dir(None)  # the usual one
