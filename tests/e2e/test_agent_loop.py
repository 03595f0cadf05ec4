"""A model works through exec and wait: the agent of the examples, against a service that speaks a real model API."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codemode_client import CodeModeProvider, ModelOutput, ModelTools, Toolbox
from codemode_protocol.errors import ToolError
from codemode_protocol.values import ImageDetail, InputAudio, InputImage, InputText
from examples import agent
from examples.scripted_model import ScriptedModel

pytestmark = pytest.mark.loops("asyncio")  # which the example is written for

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    with ScriptedModel() as served:
        yield served


def post(model: ScriptedModel, body: object, path: str = "/responses", key: str = "k") -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(model.base_url + path, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)["error"]["message"]


def run_agent(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    return subprocess.run(
        [sys.executable, str(ROOT / "examples/agent.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**kept, "PYTHONPATH": str(ROOT), **variables},
        check=False,
    )


def test_the_example_runs_without_a_key() -> None:
    done = run_agent()
    assert done.stderr == ""
    assert done.returncode == 0
    assert done.stdout.endswith("Lima is the warmest with 24 °C. You have a seat for 870 EUR: seat 12A to Lima.\n")
    assert done.stdout.count("── answer") == 3


def test_the_example_talks_to_the_service_that_the_environment_names(model: ScriptedModel) -> None:
    done = run_agent("Where is it warm?", OPENAI_API_KEY="k", OPENAI_BASE_URL=model.base_url + "/", OPENAI_MODEL="m")
    assert (done.returncode, done.stderr) == (0, "")
    assert {request["model"] for request in model.requests} == {"m"}
    assert model.requests[0]["input"] == [{"role": "user", "content": "Where is it warm?"}]


def test_the_example_says_what_the_service_refused(model: ScriptedModel) -> None:
    done = run_agent(OPENAI_API_KEY="k", OPENAI_BASE_URL=model.base_url + "/other")
    assert done.returncode == 1
    assert "404" in done.stderr
    assert "Traceback" not in done.stderr


async def test_the_model_sees_each_output_in_the_form_of_its_api(
    model: ScriptedModel, own_host_command: list[str]
) -> None:
    async with CodeModeProvider(own_host_command) as provider, provider.session(agent.toolbox) as session:
        tools = ModelTools(session, agent.toolbox)
        answer = await agent.converse(agent.Model(model.base_url, "k", "m"), tools, "?")
    assert answer.startswith("Lima is the warmest")
    assert [len(request["input"]) for request in model.requests] == [1, 4, 6, 8]
    assert [tool["type"] for tool in model.requests[0]["tools"]] == ["custom", "function"]
    _, *items = model.requests[-1]["input"]
    assert [item["type"] for item in items] == [
        "reasoning",
        "custom_tool_call",
        "custom_tool_call_output",
        "custom_tool_call",
        "custom_tool_call_output",
        "function_call",
        "function_call_output",
    ]
    (looked,) = items[2]["output"]
    assert looked["text"].split("\n")[3:] == ["Oslo: -3 °C, 140 EUR", "Rome: 18 °C, 95 EUR", "Lima: 24 °C, 870 EUR"]
    (running,) = items[4]["output"]
    assert running["text"].startswith("Status: running, as cell 2.")
    assert running["text"].endswith("Output:\nasking for a seat")


async def test_a_tool_that_fails_reaches_the_model_as_an_answer(
    model: ScriptedModel, own_host_command: list[str]
) -> None:
    toolbox = Toolbox()

    @toolbox.tool
    def weather(city: str) -> None:
        raise ToolError(f"no thermometer in {city}")

    @toolbox.tool
    def fares(origin: str) -> dict[str, int]:
        return {}

    async with CodeModeProvider(own_host_command) as provider, provider.session(toolbox) as session:
        answer = await agent.converse(agent.Model(model.base_url, "k", "m"), ModelTools(session, toolbox), "?")
    assert answer.startswith("My script did not work:\nStatus: failed\n")
    assert "no thermometer in " in answer  # whichever city was first


async def test_the_definitions_and_every_kind_of_output_pass_the_services_checks(
    model: ScriptedModel, own_host_command: list[str]
) -> None:
    output = ModelOutput(
        "1",
        "completed",
        [
            InputText("header"),
            InputImage("data:image/png;base64,AAAA", ImageDetail.ORIGINAL),
            InputText(""),
            InputAudio("data:audio/wav;base64,AAAA"),
            InputImage("data:image/jpeg;base64,AAAA"),
        ],
    )
    toolbox = Toolbox()
    async with CodeModeProvider(own_host_command) as provider, provider.session(toolbox) as session:
        definitions = ModelTools(session, toolbox).definitions
    call = {"call_id": "c", "name": "exec"}
    for freeform in (True, False):
        kind, given = ("custom_tool_call", "input") if freeform else ("function_call", "arguments")
        body = {
            "model": "m",
            "input": [
                {"role": "user", "content": "?"},
                {"type": kind, **call, given: ""},
                {"type": f"{kind}_output", "call_id": "c", "output": output.openai_responses()},
            ],
            "tools": [definition.openai_responses(freeform=freeform) for definition in definitions],
        }
        status, reply = post(model, body)
        assert status == 200, reply


TOOL = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
CALL = {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "a", "output": ""}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": None}, "Invalid type for 'model'"),
        ({"messages": []}, "Unknown parameter: 'messages'."),
        ({"input": None}, "Missing required parameter: 'input'."),
        ({"tools": [{"type": "function", "function": TOOL}]}, "Missing required parameter: 'tools[0].name'."),
        ({"tools": [{**TOOL, "name": "a b"}]}, "Invalid 'tools[0].name'"),
        ({"tools": [{**TOOL, "type": "exec"}]}, "Invalid value for 'tools[0].type'"),
        ({"tools": [{**TOOL, "parameters": {}}]}, "Invalid schema for function 'f'"),
        (
            {"tools": [{**TOOL, "parameters": {"type": "object", "properties": {"a": {}}}}]},
            "every property is required",
        ),
        ({"tools": [{"type": "custom", "name": "f", "parameters": {}}]}, "Unknown parameter: 'tools[0].parameters'."),
        ({"input": [CALL]}, "No tool output found for function call a."),
        ({"input": [OUTPUT]}, "No tool call found for function call output with call_id a."),
        ({"input": [CALL, OUTPUT, OUTPUT]}, "No tool call found"),
        ({"input": [CALL, {**OUTPUT, "type": "custom_tool_call_output"}]}, "No tool call found for custom tool call"),
        (
            {"input": [CALL, {**OUTPUT, "output": [{"type": "text", "text": ""}]}]},
            "Invalid value for 'input[1].output[0]",
        ),
        ({"input": [CALL, {**OUTPUT, "output": {"text": ""}}]}, "expected a string or an array"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "image_url"),
        ({"input": [{"type": "tool_result"}]}, "Invalid value: 'tool_result'."),
    ],
)
def test_the_scripted_service_refuses_what_the_real_one_would(
    model: ScriptedModel, change: dict[str, Any], reason: str
) -> None:
    status, message = post(model, {"model": "m", "input": "?", **change})
    assert status == 400
    assert reason in message
    assert model.requests == []


def test_the_scripted_service_wants_a_key_the_path_and_json(model: ScriptedModel) -> None:
    body = {"model": "m", "input": "?"}
    assert post(model, body, key="")[0] == 401
    assert post(model, body, path="/completions")[0] == 404
    assert post(model, b"{")[0] == 400
    assert post(model, b"[]")[0] == 400
    assert post(model, body)[1]["output"][0]["content"][0]["text"] == "I have no tools to look with."
