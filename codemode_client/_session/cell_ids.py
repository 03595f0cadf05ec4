"""Public cell ids.

A host numbers the cells of each session "1", "2", …. A logical session survives its host, so its public cell ids carry
the host's generation from the second on: "3" is cell 3 of generation 1, "g2:3" is cell 3 of generation 2.
"""

from __future__ import annotations

import re

import msgspec

from codemode_protocol.values import LiveCell, MissingCell, Outcome, Result, RuntimeResponse

_LATER_GENERATION = re.compile(r"g([2-9]|[1-9][0-9]{1,17}):(.*)", re.DOTALL)


def public_cell_id(generation: int, host_id: str) -> str:
    """Return the public id of cell `host_id` of a generation's host."""
    return host_id if generation == 1 else f"g{generation}:{host_id}"


def parse_cell_id(cell_id: str) -> tuple[int, str]:
    """Return the generation and the host's own id in a public cell id. Any text is accepted."""
    match = _LATER_GENERATION.fullmatch(cell_id)
    return (int(match[1]), match[2]) if match else (1, cell_id)


def publish(response: RuntimeResponse, generation: int) -> RuntimeResponse:
    """Return a host's response with its public cell id."""
    if generation == 1:
        return response
    return msgspec.structs.replace(response, cell_id=public_cell_id(generation, response.cell_id))


def publish_outcome(outcome: Outcome, generation: int) -> Outcome:
    """Return a host's outcome with its public cell id, in the text of a missing cell, too."""
    host_id, public = outcome.response.cell_id, publish(outcome.response, generation)
    if isinstance(public, Result) and public.error_text == f"exec cell {host_id} not found":
        public = msgspec.structs.replace(public, error_text=f"exec cell {public.cell_id} not found")
    return LiveCell(public) if isinstance(outcome, LiveCell) else MissingCell(public)
