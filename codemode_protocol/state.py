"""The rules of the conversation, as tables.

Two rules about this file: everything that decides which message may follow which is in here, and nothing else is.
The one who keeps the books (`conversation.py`) asks `TRANSITIONS[role][machine][state]` for the event; a pair that
is not there is a violation: of this side's caller when the message is one that this role sends, of the peer when it
receives it.

How to read it. There are machines for the connection as a whole, for each session, cell, request (one machine for
each kind) and delegate call (one for each kind). One message may move several: an `execution/started` answers an
execute, starts a cell and needs its session. Events are named for what the message says, never for its direction:
each message has one direction, so a client sends what a host receives. The two roles' tables differ only where
messages cross on the wire, or where the host answers a mistake instead of ending the connection.

A state whose row is empty is final. Rows that lead from a final state to itself are for messages that crossed with
the one that ended it: they change nothing. Nothing is stored for what has ended, nor for what is new; which of the
two an unknown id is, the sets of used ids tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING


class _Symbol(Enum):
    """Members are compared by identity, and hashed by it too: Enum's own hash is a Python function on the hot path."""

    if not TYPE_CHECKING:  # to whom members would be unhashable, as this is no method
        __hash__ = object.__hash__


class Role(_Symbol):
    CLIENT = "client"
    HOST = "host"


# --------------------------------------------------------------------------------------------------------- connection


class ConnectionState(_Symbol):
    IDLE = "idle"
    """Nothing was said."""
    NEGOTIATING = "negotiating"
    """The client has said its first message, the host has not answered it."""
    READY = "ready"
    CLOSING = "closing"
    """The client has said its last; the host may go on."""
    CLOSED = "closed"
    FAILED = "failed"
    """The peer broke a rule. The first cause is kept, and nothing more is said or heard."""


class ConnectionEvent(_Symbol):
    HELLO = "hello"
    READY = "ready"
    REJECTED = "rejected"
    CLIENT_MESSAGE = "client message"
    HOST_MESSAGE = "host message"
    CLOSE = "close"
    """This side says no more."""
    EOF = "end of input"
    """The peer says no more."""
    VIOLATION = "violation"


# ------------------------------------------------------------------------------------------------------------ session


class SessionState(_Symbol):
    UNKNOWN = "unknown"
    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class SessionEvent(_Symbol):
    OPEN = "open"
    READY = "ready"
    REFUSED = "refused"
    """The request to open it was answered with an error."""
    EXECUTE = "execute"
    OBSERVE = "observe"
    """A wait or a terminate."""
    CELL = "cell"
    """A cell has started, calls or is observed."""
    SHUTDOWN = "shutdown"
    KEPT = "kept"
    """The request to shut it down was answered with an error."""
    CLOSED = "closed"
    """The answer to the shutdown. Not while a cell of the session is live."""


# --------------------------------------------------------------------------------------------------------------- cell


class CellState(_Symbol):
    STARTING = "starting"
    """Asked for; it has no id yet."""
    LIVE = "live"
    YIELDED = "yielded"
    """Live, and an observer has been answered."""
    TERMINATING = "terminating"
    """Live, and being terminated."""
    COMPLETED = "completed"
    """It has ended, and an observer was told; it is kept until it is closed."""
    CLOSED = "closed"


class CellEvent(_Symbol):
    STARTED = "started"
    REFUSED = "refused"
    CALL = "call"
    """A tool call or a notification."""
    YIELDED = "yielded"
    ENDED = "ended"
    """An observer is told its result, or that it was terminated."""
    TERMINATE = "terminate"
    CLOSED = "closed"
    """Not before the initial response, nor while a call is pending."""


# ----------------------------------------------------------------------------------------------------------- requests


class RequestState(_Symbol):
    NEW = "new"
    PENDING = "pending"
    CANCELLED = "cancelled"
    """The client wants no answer any more; it gets one all the same."""
    STARTED = "started"
    """An execute whose cell runs; its initial response is to come."""
    ANSWERED = "answered"


class RequestEvent(_Symbol):
    REQUEST = "request"
    CANCEL = "cancel"
    SESSION_READY = "session ready"
    EXECUTION_STARTED = "execution started"
    WAIT_COMPLETED = "wait completed"
    SESSION_CLOSED = "session closed"
    FAILED = "failed"
    INITIAL_RESPONSE = "initial response"


# ------------------------------------------------------------------------------------------------------ delegate calls


class CallState(_Symbol):
    NEW = "new"
    PENDING = "pending"
    CANCELLED = "cancelled"
    ANSWERED = "answered"


class CallEvent(_Symbol):
    REQUEST = "request"
    CANCEL = "cancel"
    TOOL_RESULT = "tool result"
    DELIVERED = "delivered"
    FAILED = "failed"


# ------------------------------------------------------------------------------------------------------------- tables


class Machine(_Symbol):
    CONNECTION = "connection"
    SESSION = "session"
    CELL = "cell"
    OPEN = "session/open"
    EXECUTE = "session/execute"
    WAIT = "session/wait"
    TERMINATE = "session/terminate"
    SHUTDOWN = "session/shutdown"
    TOOL_CALL = "tool/invoke"
    NOTIFICATION = "notification/send"


State = ConnectionState | SessionState | CellState | RequestState | CallState
Event = ConnectionEvent | SessionEvent | CellEvent | RequestEvent | CallEvent
ConnectionTable = Mapping[ConnectionState, Mapping[ConnectionEvent, ConnectionState]]
SessionTable = Mapping[SessionState, Mapping[SessionEvent, SessionState]]
CellTable = Mapping[CellState, Mapping[CellEvent, CellState]]
RequestTable = Mapping[RequestState, Mapping[RequestEvent, RequestState]]
CallTable = Mapping[CallState, Mapping[CallEvent, CallState]]

_C, _CE = ConnectionState, ConnectionEvent

CONNECTION: Mapping[Role, ConnectionTable] = {
    Role.CLIENT: {
        _C.IDLE: {
            _CE.HELLO: _C.NEGOTIATING,
            _CE.CLOSE: _C.CLOSED,
            _CE.EOF: _C.CLOSED,
            _CE.VIOLATION: _C.FAILED,
        },
        _C.NEGOTIATING: {
            _CE.READY: _C.READY,
            _CE.REJECTED: _C.CLOSED,
            _CE.CLOSE: _C.CLOSED,
            _CE.EOF: _C.CLOSED,
            _CE.VIOLATION: _C.FAILED,
        },
        _C.READY: {
            _CE.CLIENT_MESSAGE: _C.READY,
            _CE.HOST_MESSAGE: _C.READY,
            _CE.CLOSE: _C.CLOSING,
            _CE.EOF: _C.CLOSED,
            _CE.VIOLATION: _C.FAILED,
        },
        _C.CLOSING: {
            _CE.HOST_MESSAGE: _C.CLOSING,
            _CE.EOF: _C.CLOSED,
            _CE.VIOLATION: _C.FAILED,
        },
        _C.CLOSED: {},
        _C.FAILED: {},
    },
    Role.HOST: {
        _C.IDLE: {
            _CE.HELLO: _C.NEGOTIATING,
            # A first message that is no hello is answered too: by a rejection.
            _CE.CLIENT_MESSAGE: _C.NEGOTIATING,
            _CE.CLOSE: _C.CLOSED,
            _CE.EOF: _C.CLOSED,
            _CE.VIOLATION: _C.FAILED,
        },
        _C.NEGOTIATING: {
            # A client need not wait for the answer to its hello.
            _CE.CLIENT_MESSAGE: _C.NEGOTIATING,
            _CE.READY: _C.READY,
            _CE.REJECTED: _C.CLOSED,
            _CE.CLOSE: _C.CLOSED,
            _CE.EOF: _C.CLOSED,
            _CE.VIOLATION: _C.FAILED,
        },
        _C.READY: {
            _CE.CLIENT_MESSAGE: _C.READY,
            _CE.HOST_MESSAGE: _C.READY,
            _CE.CLOSE: _C.CLOSED,
            _CE.EOF: _C.CLOSING,
            _CE.VIOLATION: _C.FAILED,
        },
        _C.CLOSING: {
            _CE.HOST_MESSAGE: _C.CLOSING,
            _CE.CLOSE: _C.CLOSED,
        },
        _C.CLOSED: {},
        _C.FAILED: {},
    },
}

_S, _SE = SessionState, SessionEvent

SESSION: Mapping[Role, SessionTable] = {
    Role.CLIENT: {
        _S.UNKNOWN: {_SE.OPEN: _S.OPENING},
        _S.OPENING: {_SE.READY: _S.OPEN, _SE.REFUSED: _S.UNKNOWN},
        _S.OPEN: {
            _SE.EXECUTE: _S.OPEN,
            _SE.OBSERVE: _S.OPEN,
            _SE.CELL: _S.OPEN,
            _SE.SHUTDOWN: _S.CLOSING,
        },
        _S.CLOSING: {
            _SE.OBSERVE: _S.CLOSING,
            _SE.CELL: _S.CLOSING,
            _SE.KEPT: _S.OPEN,
            _SE.CLOSED: _S.CLOSED,
        },
        _S.CLOSED: {},
    },
    # A host answers requests that name a session wrongly with an error, so that none of them is a violation.
    Role.HOST: {
        _S.UNKNOWN: {
            _SE.OPEN: _S.OPENING,
            _SE.EXECUTE: _S.UNKNOWN,
            _SE.OBSERVE: _S.UNKNOWN,
            _SE.SHUTDOWN: _S.UNKNOWN,
        },
        _S.OPENING: {
            _SE.OPEN: _S.OPENING,
            _SE.READY: _S.OPEN,
            _SE.REFUSED: _S.UNKNOWN,
            _SE.EXECUTE: _S.OPENING,
            _SE.OBSERVE: _S.OPENING,
            _SE.SHUTDOWN: _S.OPENING,
        },
        _S.OPEN: {
            _SE.OPEN: _S.OPEN,
            _SE.EXECUTE: _S.OPEN,
            _SE.OBSERVE: _S.OPEN,
            _SE.CELL: _S.OPEN,
            _SE.SHUTDOWN: _S.CLOSING,
        },
        _S.CLOSING: {
            _SE.OPEN: _S.CLOSING,
            _SE.EXECUTE: _S.CLOSING,
            _SE.OBSERVE: _S.CLOSING,
            _SE.CELL: _S.CLOSING,
            _SE.SHUTDOWN: _S.CLOSING,
            _SE.KEPT: _S.OPEN,
            _SE.CLOSED: _S.CLOSED,
        },
        _S.CLOSED: {
            _SE.OPEN: _S.CLOSED,
            _SE.EXECUTE: _S.CLOSED,
            _SE.OBSERVE: _S.CLOSED,
            _SE.SHUTDOWN: _S.CLOSED,
        },
    },
}

_L, _LE = CellState, CellEvent

_CELL: CellTable = {
    # A client that guesses an id, or names one that is gone, is answered that there is no such cell.
    _L.STARTING: {_LE.STARTED: _L.LIVE, _LE.REFUSED: _L.CLOSED, _LE.TERMINATE: _L.STARTING},
    _L.LIVE: {
        _LE.CALL: _L.LIVE,
        _LE.YIELDED: _L.YIELDED,
        _LE.ENDED: _L.COMPLETED,
        _LE.TERMINATE: _L.TERMINATING,
        _LE.CLOSED: _L.CLOSED,
    },
    _L.YIELDED: {
        _LE.CALL: _L.YIELDED,
        _LE.YIELDED: _L.YIELDED,
        _LE.ENDED: _L.COMPLETED,
        _LE.TERMINATE: _L.TERMINATING,
        _LE.CLOSED: _L.CLOSED,
    },
    # What the cell did before the request reached it is still told.
    _L.TERMINATING: {
        _LE.CALL: _L.TERMINATING,
        _LE.YIELDED: _L.TERMINATING,
        _LE.ENDED: _L.COMPLETED,
        _LE.TERMINATE: _L.TERMINATING,
        _LE.CLOSED: _L.CLOSED,
    },
    # An end is told to everybody who observed or terminated.
    _L.COMPLETED: {_LE.ENDED: _L.COMPLETED, _LE.TERMINATE: _L.COMPLETED, _LE.CLOSED: _L.CLOSED},
    _L.CLOSED: {_LE.TERMINATE: _L.CLOSED},
}

CELL: Mapping[Role, CellTable] = {Role.CLIENT: _CELL, Role.HOST: _CELL}

_R, _RE = RequestState, RequestEvent


def _request(role: Role, success: RequestEvent) -> RequestTable:
    """Return the table of a request that has one answer."""
    table: dict[RequestState, dict[RequestEvent, RequestState]] = {
        _R.NEW: {_RE.REQUEST: _R.PENDING},
        _R.PENDING: {success: _R.ANSWERED, _RE.FAILED: _R.ANSWERED, _RE.CANCEL: _R.CANCELLED},
        _R.CANCELLED: {success: _R.ANSWERED, _RE.FAILED: _R.ANSWERED},
        _R.ANSWERED: {},
    }
    if role is Role.HOST:
        # Cancelling what is not there, not there any more, or cancelled already, changes nothing.
        for state in (_R.NEW, _R.CANCELLED, _R.ANSWERED):
            table[state][_RE.CANCEL] = state
    return table


def _execute(role: Role) -> RequestTable:
    """Return the table of an execute, which has two answers: its cell has started, and the initial response."""
    table: dict[RequestState, dict[RequestEvent, RequestState]] = {
        _R.NEW: {_RE.REQUEST: _R.PENDING},
        _R.PENDING: {_RE.EXECUTION_STARTED: _R.STARTED, _RE.FAILED: _R.ANSWERED, _RE.CANCEL: _R.CANCELLED},
        _R.CANCELLED: {_RE.EXECUTION_STARTED: _R.STARTED, _RE.FAILED: _R.ANSWERED},
        _R.STARTED: {_RE.INITIAL_RESPONSE: _R.ANSWERED, _RE.CANCEL: _R.STARTED},
        _R.ANSWERED: {},
    }
    if role is Role.HOST:
        for state in (_R.NEW, _R.CANCELLED, _R.ANSWERED):
            table[state][_RE.CANCEL] = state
    return table


REQUEST: Mapping[Role, Mapping[Machine, RequestTable]] = {
    role: {
        Machine.OPEN: _request(role, _RE.SESSION_READY),
        Machine.EXECUTE: _execute(role),
        Machine.WAIT: _request(role, _RE.WAIT_COMPLETED),
        Machine.TERMINATE: _request(role, _RE.WAIT_COMPLETED),
        Machine.SHUTDOWN: _request(role, _RE.SESSION_CLOSED),
    }
    for role in Role
}

_D, _DE = CallState, CallEvent


def _client_call(answer: CallEvent) -> CallTable:
    return {
        _D.NEW: {_DE.REQUEST: _D.PENDING},
        _D.PENDING: {answer: _D.ANSWERED, _DE.FAILED: _D.ANSWERED, _DE.CANCEL: _D.CANCELLED},
        # The host may have cancelled while the answer was under way. (Of a call that is over it is not kept how.)
        _D.CANCELLED: {_DE.CANCEL: _D.CANCELLED},
        _D.ANSWERED: {_DE.CANCEL: _D.ANSWERED},
    }


# A host ignores answers that no request waits for. An answer of the wrong kind counts: as a failure of the call.
_HOST_CALL: CallTable = {
    _D.NEW: {
        _DE.REQUEST: _D.PENDING,
        _DE.TOOL_RESULT: _D.NEW,
        _DE.DELIVERED: _D.NEW,
        _DE.FAILED: _D.NEW,
    },
    _D.PENDING: {
        _DE.TOOL_RESULT: _D.ANSWERED,
        _DE.DELIVERED: _D.ANSWERED,
        _DE.FAILED: _D.ANSWERED,
        _DE.CANCEL: _D.CANCELLED,
    },
    _D.CANCELLED: {
        _DE.TOOL_RESULT: _D.CANCELLED,
        _DE.DELIVERED: _D.CANCELLED,
        _DE.FAILED: _D.CANCELLED,
    },
    _D.ANSWERED: {
        _DE.TOOL_RESULT: _D.ANSWERED,
        _DE.DELIVERED: _D.ANSWERED,
        _DE.FAILED: _D.ANSWERED,
    },
}

CALL: Mapping[Role, Mapping[Machine, CallTable]] = {
    Role.CLIENT: {
        Machine.TOOL_CALL: _client_call(_DE.TOOL_RESULT),
        Machine.NOTIFICATION: _client_call(_DE.DELIVERED),
    },
    Role.HOST: {Machine.TOOL_CALL: _HOST_CALL, Machine.NOTIFICATION: _HOST_CALL},
}

TRANSITIONS: Mapping[Role, Mapping[Machine, ConnectionTable | SessionTable | CellTable | RequestTable | CallTable]] = {
    role: {
        Machine.CONNECTION: CONNECTION[role],
        Machine.SESSION: SESSION[role],
        Machine.CELL: CELL[role],
        **REQUEST[role],
        **CALL[role],
    }
    for role in Role
}
"""All tables: `TRANSITIONS[role][machine][state][event]` is the next state."""
