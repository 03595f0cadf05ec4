"""How a cell lives and ends: its states, what happens to it, and which state follows, as a table.

What the table does not have cannot happen. docs/states.md draws it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class CellState(Enum):
    """Where a cell stands."""

    RUNNING = "running"
    """The script runs, or waits for something."""
    FAILING = "failing"
    """A limit was met: its process is being killed, and the error text that it gets is known."""
    STOPPING = "stopping"
    """It was ended from outside: its process is being killed, and its observer is told that it was terminated."""
    TERMINATING = "terminating"
    """Its client terminates it: its process is being killed, and the request is answered then."""
    DELIVERING = "delivering"
    """The script is over, and its result is known; not all of its notifications have been delivered."""
    COMPLETED = "completed"
    """The result waits to be taken."""
    CLOSED = "closed"
    """It is gone, and its client was told so."""


class CellEvent(Enum):
    """What happens to a cell."""

    SCRIPT_OVER = "script over"
    LIMIT_MET = "limit met"
    PROCESS_ENDED = "process ended"
    PANIC = "panic"
    DELIVERED = "delivered"
    TAKEN = "taken"
    TERMINATE = "terminate"
    END = "end"
    """From outside: `codemode kill`."""


TRANSITIONS: Mapping[CellState, Mapping[CellEvent, CellState]] = {
    CellState.RUNNING: {
        CellEvent.SCRIPT_OVER: CellState.DELIVERING,
        CellEvent.LIMIT_MET: CellState.FAILING,
        CellEvent.PROCESS_ENDED: CellState.DELIVERING,
        CellEvent.PANIC: CellState.DELIVERING,
        CellEvent.TERMINATE: CellState.TERMINATING,
        CellEvent.END: CellState.STOPPING,
    },
    CellState.FAILING: {
        CellEvent.LIMIT_MET: CellState.FAILING,
        CellEvent.PROCESS_ENDED: CellState.DELIVERING,
        CellEvent.PANIC: CellState.DELIVERING,
        CellEvent.TERMINATE: CellState.TERMINATING,
        CellEvent.END: CellState.FAILING,
    },
    CellState.STOPPING: {
        CellEvent.LIMIT_MET: CellState.STOPPING,
        CellEvent.PROCESS_ENDED: CellState.COMPLETED,
        CellEvent.PANIC: CellState.DELIVERING,
        CellEvent.TERMINATE: CellState.TERMINATING,
        CellEvent.END: CellState.STOPPING,
    },
    CellState.TERMINATING: {
        CellEvent.LIMIT_MET: CellState.TERMINATING,
        CellEvent.PROCESS_ENDED: CellState.CLOSED,
        CellEvent.PANIC: CellState.CLOSED,
        CellEvent.END: CellState.TERMINATING,
    },
    CellState.DELIVERING: {
        CellEvent.DELIVERED: CellState.COMPLETED,
        CellEvent.TERMINATE: CellState.CLOSED,
        CellEvent.END: CellState.COMPLETED,
    },
    CellState.COMPLETED: {
        CellEvent.TAKEN: CellState.CLOSED,
        CellEvent.TERMINATE: CellState.CLOSED,
        CellEvent.END: CellState.CLOSED,
    },
    CellState.CLOSED: {},
}
