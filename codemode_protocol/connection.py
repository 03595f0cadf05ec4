"""A connection's two ends, without I/O: bytes in, messages out; messages in, bytes out.

Theory of operation. The owner of the bytes gives all that it reads to `receive_data`, tells the end by
`receive_eof`, and writes whatever `send` (and `hello`, `negotiate`) returns, in that order. The connection checks
every message of either direction against the tables of `state.py` and keeps the books of what is open
(`conversation.py`); they are the only copy.

A message that this side may not send raises `LocalProtocolError`: nothing was sent and nothing changed. A message,
or a byte, that the peer may not send ends the connection: the state is `FAILED`, nothing more can be sent, and the
first cause is in `failure`. Messages that came before it in the same data are returned first and can be answered, as if
they had come alone. So call `raise_for_violation` after handling what `receive_data` gave, before waiting for more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from typing import Any, ClassVar, Generic, TypeVar

import msgspec

from codemode_protocol.conversation import Conversation, Violation
from codemode_protocol.errors import LocalProtocolError, MessageTooLargeError, RemoteProtocolError
from codemode_protocol.framing import (
    MAX_PAYLOAD_BYTES,
    Decoder,
    FrameDecoder,
    Framing,
    LineDecoder,
    Payload,
    encode_frame,
    encode_line,
)
from codemode_protocol.ids import MAX_ID
from codemode_protocol.messages import (
    CellClosed,
    ClientMessage,
    DelegateCancel,
    DelegateRequest,
    DelegateResponse,
    Failure,
    Hello,
    HostMessage,
    InitialResponse,
    OperationCancel,
    OperationRequest,
    OperationResponse,
    Ready,
    Rejected,
    client_message_decoder,
    host_message_decoder,
    tag_of,
)
from codemode_protocol.negotiation import (
    FIRST_MESSAGE_MUST_BE_HELLO,
    SUPPORTED_VERSIONS,
    check_ready,
    negotiate,
)
from codemode_protocol.state import (
    CONNECTION,
    CallState,
    CellState,
    ConnectionEvent,
    ConnectionState,
    RequestState,
    Role,
    SessionState,
)

Incoming = TypeVar("Incoming")


class _Connection(Generic[Incoming]):
    """What the two ends have in common."""

    _role: ClassVar[Role]
    _peer: ClassVar[ConnectionEvent]
    _own: ClassVar[ConnectionEvent]

    def __init__(self, decoder: msgspec.json.Decoder[Incoming], framing: Framing, max_payload: int) -> None:
        self.state: ConnectionState = ConnectionState.IDLE
        self.failure: RemoteProtocolError | None = None
        """The first rule that the peer broke; the connection is finished then."""
        self._violation: RemoteProtocolError | None = None
        self._decoder = decoder
        self._max_payload = max_payload
        lines = framing == "lines"
        self._frames: Decoder = LineDecoder(max_payload) if lines else FrameDecoder(max_payload)
        self._encode = encode_line if lines else encode_frame
        self._table = CONNECTION[self._role]
        self._heard_end = False
        self._books = Conversation(self._role)
        self._receivers: Mapping[type, Callable[[Any], Any]] = {}
        self._senders: Mapping[type, Callable[[Any], object]] = {}

    # ---------------------------------------------------------------------------------------------------------- state

    @property
    def ready(self) -> bool:
        """Whether the handshake is over and both sides may speak."""
        return self.state is ConnectionState.READY

    def session_state(self, session_id: str) -> SessionState:
        return self._books.session_state(session_id)

    def cell_state(self, session_id: str, cell_id: str) -> CellState | None:
        """None for a cell that is not there, whether it never was or is closed."""
        return self._books.cell_state(session_id, cell_id)

    def live_cells(self, session_id: str) -> tuple[str, ...]:
        """Return the ids of a session's cells that have started and are not closed, in the order of their starts."""
        return self._books.live_cells(session_id)

    def pending_calls(self, session_id: str, cell_id: str) -> tuple[int, ...]:
        """Return the ids of a cell's delegate calls that are neither answered nor cancelled, oldest first."""
        return self._books.pending_calls(session_id, cell_id)

    def call_is_pending(self, call_id: int) -> bool:
        """Return whether a delegate call is neither answered nor cancelled.

        Until it is, its answer can be sent by the client, and is given to the host.
        """
        return self._books.call_is_pending(call_id)

    def call_state(self, call_id: int) -> CallState:
        """Return the state of a delegate call. One that is over counts as answered: how it ended is not kept."""
        return self._books.call_state(call_id)

    def request_state(self, request_id: int) -> RequestState:
        return self._books.request_state(request_id)

    def size(self) -> int:
        """How many things the connection keeps about the conversation. It follows what is live."""
        return self._books.size()

    # ------------------------------------------------------------------------------------------------------- receiving

    def receive_data(self, data: bytes | bytearray) -> list[Incoming]:
        """Take bytes and give the messages that they complete, decoded and checked, in order.

        `data` may be cut anywhere and must not be changed afterwards. Raises RemoteProtocolError when the peer
        broke a rule; if messages came before that in the same data, they are returned, and may still be answered,
        before `raise_for_violation` or the next call raises. Once the conversation is over what still comes is
        dropped. LocalProtocolError after `receive_eof`.
        """
        self.raise_for_violation()
        if self._heard_end:
            raise LocalProtocolError("receive_data after receive_eof")
        messages: list[Incoming] = []
        if self.state is ConnectionState.CLOSED:
            return messages
        try:
            for payload in self._frames.feed(data):
                message = self._receive(self._decode(payload))
                if message is not None:
                    messages.append(message)
                if self._heard_enough():
                    return messages
            if self._frames.failure is not None:
                raise self._frames.failure
        except RemoteProtocolError as error:
            self._violation = error
            if not messages:
                self.raise_for_violation()
        return messages

    def raise_for_violation(self) -> None:
        """Raise the RemoteProtocolError that ended, or now ends, the connection, if the peer broke a rule.

        To be called when the messages that `receive_data` gave have been handled.
        """
        if self._violation is not None and self.failure is None:
            self.state = self._table[self.state][ConnectionEvent.VIOLATION]
            self.failure = self._violation
        if self.failure is not None:
            raise self.failure

    def receive_eof(self) -> None:
        """Take note that the peer says no more. May be called again.

        Raises:
            RemoteProtocolError: The peer stopped inside a frame.
        """
        self.raise_for_violation()
        if self._heard_end:
            return
        self._heard_end = True
        if self.state is ConnectionState.CLOSED:
            return
        if not self._frames.at_boundary:
            self._violation = RemoteProtocolError("early end of input: it stops inside a frame")
            self.raise_for_violation()
        self.state = self._table[self.state][ConnectionEvent.EOF]

    def _decode(self, payload: Payload) -> Incoming:
        try:
            # JSON that stays raw is only skipped by the decoder: its text is checked here. (A view has no isascii.)
            if isinstance(payload, memoryview) or not payload.isascii():
                str(payload, "utf-8")
            return self._decoder.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RemoteProtocolError(f"failed to decode code-mode IPC frame{_kind_of(payload)}: {error}") from error

    def _receive(self, message: Incoming) -> Incoming | None:
        """Check a message and change the state. None when it comes to nothing."""
        receiver = self._receivers.get(type(message))
        if receiver is None or self._peer not in self._table[self.state]:
            raise RemoteProtocolError(f"{tag_of(message)} is not allowed here: the connection is {self.state.value}")
        try:
            received: Incoming | None = receiver(message)
        except Violation as violation:
            raise RemoteProtocolError(f"{tag_of(message)}: {violation}") from None
        return received

    def _heard_enough(self) -> bool:
        return self.state is ConnectionState.CLOSED

    # --------------------------------------------------------------------------------------------------------- sending

    def _send(self, message: object) -> bytearray:
        sender = self._senders.get(type(message))
        if sender is None or self._own not in self._table[self.state]:
            raise LocalProtocolError(
                f"{tag_of(message)} cannot be sent: the connection is {self.state.value}"
            ) from self.failure
        try:
            data = self._encode(message, self._max_payload)
        except MessageTooLargeError as error:
            shortened = self._shortened(message, error)
            if shortened is None:
                raise
            message = shortened
            data = self._encode(message, self._max_payload)
        except (TypeError, ValueError, OverflowError) as error:
            raise LocalProtocolError(f"{tag_of(message)} cannot be encoded: {error}") from error
        try:
            sender(message)
        except Violation as violation:
            raise LocalProtocolError(f"{tag_of(message)} cannot be sent: {violation}") from None
        return data

    def _shortened(self, message: object, error: MessageTooLargeError) -> object | None:
        """Return what is sent in place of a message that does not fit in a frame; None if the caller has to know."""
        return None

    def close(self) -> None:
        """Say no more. What the peer still says is received by a client, and dropped by a host. May be called again."""
        self.state = self._table[self.state].get(ConnectionEvent.CLOSE, self.state)


class HostConnection(_Connection[ClientMessage]):
    """The host's end.

    The first message that `receive_data` gives, whatever it is, goes to `negotiate`; the client need not have
    waited for the answer, so more messages may follow it at once. Answers that no request waits for, and cancels of
    what is over, are not given at all.
    """

    _role = Role.HOST
    state: ConnectionState
    _peer = ConnectionEvent.CLIENT_MESSAGE
    _own = ConnectionEvent.HOST_MESSAGE

    def __init__(
        self,
        *,
        framing: Framing = "length",
        max_payload: int = MAX_PAYLOAD_BYTES,
        versions: Set[int] = SUPPORTED_VERSIONS,
        capabilities: Set[str] = frozenset(),
    ) -> None:
        super().__init__(client_message_decoder, framing, max_payload)
        self._versions = versions
        self._capabilities = capabilities
        self._to_reject = False  # the first message was no hello: nothing after it counts
        self._last_call = 0
        books = self._books
        self._receivers = {
            OperationRequest: books.request,
            OperationCancel: books.cancel,
            DelegateResponse: books.answer_call,
        }
        self._senders = {
            OperationResponse: books.respond,
            InitialResponse: books.initial_response,
            DelegateRequest: books.call,
            DelegateCancel: books.cancel_call,
            CellClosed: books.close_cell,
        }

    def _receive(self, message: ClientMessage) -> ClientMessage | None:
        if self.state is ConnectionState.IDLE:
            self._to_reject = not isinstance(message, Hello)
            event = ConnectionEvent.CLIENT_MESSAGE if self._to_reject else ConnectionEvent.HELLO
            self.state = self._table[self.state][event]
            return message
        if isinstance(message, Hello):
            raise RemoteProtocolError("received a second code-mode client hello")
        return super()._receive(message)

    def _heard_enough(self) -> bool:
        return self._to_reject

    def negotiate(self, first: ClientMessage) -> bytearray:
        """Answer the client's first message, by connection/ready or connection/rejected; see `state` for which.

        After a rejection nothing more is received. LocalProtocolError unless an answer is due.
        """
        if self.state is not ConnectionState.NEGOTIATING:
            raise LocalProtocolError(f"there is no hello to answer: the connection is {self.state.value}")
        answer = (
            negotiate(first, self._versions, self._capabilities)
            if isinstance(first, Hello)
            else FIRST_MESSAGE_MUST_BE_HELLO
        )
        data = self._encode(answer, self._max_payload)
        event = ConnectionEvent.READY if isinstance(answer, Ready) else ConnectionEvent.REJECTED
        self.state = self._table[self.state][event]
        return data

    def refusal_to_open(self, request_id: int) -> str | None:
        """Return why the open `session/open` request of this id cannot be granted, None if it can.

        Ask before answering the request. One that cannot be granted is for a session that is open already, or was open
        before under the same id on this connection.

        Raises:
            LocalProtocolError: There is no such request.
        """
        try:
            return self._books.refusal_to_open(request_id)
        except Violation as violation:
            raise LocalProtocolError(str(violation)) from None

    def next_delegate_id(self) -> int:
        """Return an id for the next delegate/request. They count from 1."""
        self._last_call += 1
        return self._last_call

    def send(self, message: HostMessage) -> bytearray:
        """Return the bytes of a message. Raises LocalProtocolError when it is not allowed: nothing changed then.

        An operation/response or execute/initialResponse too large for a frame becomes its error form. Any other message
        that is too large raises MessageTooLargeError.
        """
        return self._send(message)

    def _shortened(self, message: object, error: MessageTooLargeError) -> object | None:
        # The reference host's words.
        match message:
            case OperationResponse():
                text = f"code-mode host response exceeds the IPC frame limit: {error}"
                return OperationResponse(message.id, Failure(text))
            case InitialResponse():
                text = f"code-mode initial response exceeds the IPC frame limit: {error}"
                return InitialResponse(message.id, Failure(text))
            case _:
                return None


class ClientConnection(_Connection[HostMessage]):
    """The client's end: `hello` first, then `send` once connection/ready was received."""

    _role = Role.CLIENT
    state: ConnectionState
    _peer = ConnectionEvent.HOST_MESSAGE
    _own = ConnectionEvent.CLIENT_MESSAGE

    def __init__(
        self,
        *,
        framing: Framing = "length",
        max_payload: int = MAX_PAYLOAD_BYTES,
        versions: Set[int] = SUPPORTED_VERSIONS,
        required_capabilities: Set[str] = frozenset(),
        optional_capabilities: Set[str] = frozenset(),
    ) -> None:
        super().__init__(host_message_decoder, framing, max_payload)
        self._hello = Hello(sorted(versions), sorted(required_capabilities), sorted(optional_capabilities))
        self._last_request = 0
        books = self._books
        self._senders = {
            OperationRequest: books.request,
            OperationCancel: books.cancel,
            DelegateResponse: books.answer_call,
        }
        self._receivers = {
            OperationResponse: books.respond,
            InitialResponse: books.initial_response,
            DelegateRequest: books.call,
            DelegateCancel: books.cancel_call,
            CellClosed: books.close_cell,
        }

    def hello(self) -> bytearray:
        """Return the bytes of the first message.

        Raises:
            LocalProtocolError: It was sent already.
        """
        following = self._table[self.state].get(ConnectionEvent.HELLO)
        if following is None:
            raise LocalProtocolError(f"connection/hello cannot be sent: the connection is {self.state.value}")
        data = self._encode(self._hello, self._max_payload)
        self.state = following
        return data

    def _receive(self, message: HostMessage) -> HostMessage | None:
        if not isinstance(message, Ready | Rejected):
            return super()._receive(message)
        event = ConnectionEvent.READY if isinstance(message, Ready) else ConnectionEvent.REJECTED
        following = self._table[self.state].get(event)
        if following is None:
            raise RemoteProtocolError(f"{tag_of(message)} is not allowed here: the connection is {self.state.value}")
        if isinstance(message, Ready):
            check_ready(self._hello, message)
        self.state = following
        return message

    def next_request_id(self) -> int:
        """Return an id for the next operation/request. They count from 1.

        Raises:
            LocalProtocolError: There is none left.
        """
        if self._last_request >= MAX_ID:
            raise LocalProtocolError("no request id is left: start another connection")
        self._last_request += 1
        return self._last_request

    def send(self, message: ClientMessage) -> bytearray:
        """Return the bytes of a message. Raises LocalProtocolError when it is not allowed: nothing changed then.

        One that is too large for a frame raises MessageTooLargeError: it fails for its caller alone.
        """
        return self._send(message)


class _Kind(msgspec.Struct):
    type: str = ""


_kind_decoder = msgspec.json.Decoder(_Kind)


def _kind_of(payload: Payload) -> str:
    """Return which message a payload that does not decode means to be, as far as it can be told.

    It is for the text of an error alone.
    """
    try:
        kind = _kind_decoder.decode(payload).type
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    return f" ({kind[:64]})" if kind else ""
