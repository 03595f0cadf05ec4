"""A host that is asked from outside: its socket, and its cells once they are as a test wants them."""

from __future__ import annotations

from codemode_client.hosts import (
    HostSocket,
    find_hosts,
    report,
)
from codemode_protocol.control import CellReport
from codemode_protocol.messages import (
    CellClosed,
    OperationRequest,
    Terminate,
    Wait,
)
from tests.host.program import Program, wait_until

ENDLESS = "await new Promise(() => {});"


async def find_socket(folder: str, pid: int) -> HostSocket:
    """The socket of a host, once it is there."""
    await wait_until(lambda: [one for one in find_hosts(folder)[0] if one.pid == pid])
    return next(one for one in find_hosts(folder)[0] if one.pid == pid)


async def wait_for_cell(where: HostSocket, cell_id: str, state: str, *waits: str) -> CellReport:
    """A cell, once it is in a state and waits for just that."""
    seen: list[CellReport] = []

    def there() -> bool:
        seen[:] = [cell for cell in report(where).cells if cell.cell_id == cell_id]
        return bool(seen) and seen[0].state == state and seen[0].waiting_on == list(waits)

    await wait_until(there)
    return seen[0]


async def wait_until_closed(host: Program, cell: str) -> None:
    await host.receive(lambda message: isinstance(message, CellClosed) and message.cell_id == cell)


def make_request(host: Program, request: Wait | Terminate) -> OperationRequest:
    return OperationRequest(host.connection.next_request_id(), request)
