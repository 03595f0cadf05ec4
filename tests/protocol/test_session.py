from __future__ import annotations

from msgspec import Raw

from codemode_protocol.session import Delegate, Session, SessionProvider, StartedCell
from codemode_protocol.values import (
    ExecuteRequest,
    LiveCell,
    Outcome,
    Result,
    RuntimeResponse,
    ToolInvocation,
    WaitRequest,
)


class Cell:
    cell_id = "1"

    async def initial_response(self) -> RuntimeResponse:
        return Result("1", [])


class OneCell:
    async def execute(self, request: ExecuteRequest) -> StartedCell:
        return Cell()

    async def wait(self, request: WaitRequest) -> Outcome:
        return LiveCell(Result(request.cell_id, []))

    async def terminate(self, cell_id: str) -> Outcome:
        return LiveCell(Result(cell_id, []))

    async def shutdown(self) -> None:
        pass


class Owner:
    async def invoke_tool(self, invocation: ToolInvocation) -> Raw:
        return invocation.input

    async def notify(self, call_id: str, cell_id: str, text: str) -> None:
        pass

    def cell_closed(self, cell_id: str) -> None:
        pass


class Provider:
    async def open_session(self, delegate: Delegate) -> Session:
        return OneCell()

    async def aclose(self) -> None:
        pass


async def test_whatever_has_the_methods_is_a_provider_of_sessions() -> None:
    provider: SessionProvider = Provider()
    session = await provider.open_session(Owner())
    cell = await session.execute(ExecuteRequest("c", [], "1"))
    assert (await cell.initial_response()) == Result(cell.cell_id, [])
    assert await session.terminate(cell.cell_id) == await session.wait(WaitRequest(cell.cell_id, 0))
    await session.shutdown()
    await provider.aclose()
