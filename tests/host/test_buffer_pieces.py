"""Items that are larger than the output memory: they come in pieces, and count as what they are."""

from __future__ import annotations

import pytest

from codemode_client import CodeModeProvider, Toolbox
from codemode_host.inprocess import InProcessSessionProvider
from codemode_protocol.values import ExecuteRequest, InputText, Result


@pytest.mark.parametrize("item", ["'x'.repeat(5e6)", "'é'.repeat(5e6)", "'é€'.repeat(1e6)", "'😀'.repeat(1e6)"])
@pytest.mark.parametrize("provide", [CodeModeProvider, InProcessSessionProvider])
async def test_several_large_items_are_one_answer(
    provide: type[CodeModeProvider | InProcessSessionProvider], item: str
) -> None:
    async with provide() as provider:
        session = await provider.open_session(Toolbox())
        source = f"for (let i = 0; i < 3; i++) text({item}); text('end')"
        cell = await session.execute(ExecuteRequest("call", [], source, 30_000))
        response = await cell.initial_response()
    assert isinstance(response, Result)
    texts = [item.text for item in response.content_items if isinstance(item, InputText)]
    assert texts[0] == texts[1] == texts[2]
    assert texts[3:] == ["end"]
