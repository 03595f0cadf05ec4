"""What docs/model.md shows is so: its code runs against calls in the form of each API, and its outputs are real."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from codemode_client import CodeModeProvider, ModelTools

# The loops differ below sessions, where others prove it on each.
pytestmark = pytest.mark.loops("asyncio")

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "model.md").read_text(encoding="utf-8")
SCRIPT = "text(await tools.weather({city: 'Oslo'}))"
ANSWER = 'Output:\n{"city":"Oslo","celsius":18}'


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def page() -> dict[str, Any]:
    """The names that the page's Python defines."""
    names: dict[str, Any] = {}
    for block in blocks("python"):
        exec(compile("from __future__ import annotations\n" + block, "docs/model.md", "exec"), names)
    return names


async def test_the_first_example_prints_what_the_page_says(
    page: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    await page["main"]()
    printed = re.sub(r"\d\.\d s", "0.0 s", capsys.readouterr().out)
    assert printed == blocks("text")[0]


async def test_the_code_for_each_api_answers_its_calls(page: dict[str, Any], host_command: list[str]) -> None:
    async with CodeModeProvider(host_command) as provider, provider.session(page["toolbox"]) as session:
        tools = ModelTools(session, page["toolbox"])
        arguments = {"source": SCRIPT}
        custom, function = await page["responses_results"](
            tools,
            [
                {"type": "reasoning", "id": "r"},
                {"type": "custom_tool_call", "call_id": "a", "name": "exec", "input": SCRIPT},
                {"type": "function_call", "call_id": "b", "name": "wait", "arguments": '{"cell_id": "1"}'},
            ],
        )
        assert (custom["type"], custom["call_id"]) == ("custom_tool_call_output", "a")
        assert custom["output"][0]["text"].endswith(ANSWER)
        assert (function["type"], function["call_id"]) == ("function_call_output", "b")
        assert "There is no cell 1" in function["output"][0]["text"]

        call = {"id": "c", "type": "function", "function": {"name": "exec", "arguments": json.dumps(arguments)}}
        (message,) = await page["chat_results"](tools, {"role": "assistant", "tool_calls": [call]})
        assert (message["role"], message["tool_call_id"]) == ("tool", "c")
        assert message["content"].endswith(ANSWER)
        assert await page["chat_results"](tools, {"role": "assistant", "content": "done", "tool_calls": None}) == []

        use = {"type": "tool_use", "id": "d", "name": "exec", "input": arguments}
        (result,) = await page["anthropic_results"](tools, [{"type": "text", "text": "I will look."}, use])
        assert (result["type"], result["tool_use_id"], result["is_error"]) == ("tool_result", "d", False)
        assert result["content"][0]["text"].endswith(ANSWER)


async def test_an_error_looks_as_the_page_shows_it(page: dict[str, Any], host_command: list[str]) -> None:
    async with CodeModeProvider(host_command) as provider, provider.session(page["toolbox"]) as session:
        tools = ModelTools(session, page["toolbox"])
        output = await tools.exec(
            '// @exec: {"max_output_tokens": 100}\ntext("before");\ntext(await tools.wheather({ city: "Rome" }));'
        )
        assert re.sub(r"\d\.\d s", "0.0 s", output.text) + "\n" == blocks("text")[1]
