"""What a client answers to a cell's calls, and when: none of it may end the host."""

from __future__ import annotations

from msgspec import Raw

from codemode_protocol.messages import (
    DelegateCancel,
    DelegateRequest,
    DelegateResponse,
    HostMessage,
    NotificationDelivered,
    Success,
    ToolResult,
)
from codemode_protocol.values import Result
from tests.host.program import read_texts, run_program


def is_call(message: HostMessage) -> bool:
    return isinstance(message, DelegateRequest)


async def test_an_answer_right_behind_the_last_that_its_cell_waited_for_is_dropped() -> None:
    async with run_program() as host:
        await host.open()
        number, _ = await host.start("notify('n'); tools.f(); tools.f()", "s", "f")
        notification, answered, left = [await host.receive(is_call) for _ in range(3)]
        assert isinstance(notification, DelegateRequest)
        assert isinstance(answered, DelegateRequest)
        assert isinstance(left, DelegateRequest)
        # The script is over by now, and its result waits for the notification alone.
        assert read_texts(await host.run("await new Promise((f) => setTimeout(f, 50)); text(1)")) == ["1"]
        both = host.connection.send(DelegateResponse(notification.id, Success(NotificationDelivered())))
        both += host.connection.send(DelegateResponse(answered.id, Success(ToolResult(Raw(b"1")))))
        await host.stdin.send_all(both)
        assert await host.receive(lambda message: isinstance(message, DelegateCancel)) == DelegateCancel(left.id)
        assert isinstance(await host.first(number), Result)
        assert read_texts(await host.run("text(2)")) == ["2"]
