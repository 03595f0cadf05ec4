"""An agent: a model that works by running scripts, over OpenAI's Responses API, with nothing but the standard library.

    python examples/agent.py                          # against a scripted model on loopback
    OPENAI_API_KEY=… OPENAI_MODEL=… python examples/agent.py "your question"

OPENAI_BASE_URL names another service that speaks the same API.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from codemode_client import CodeModeProvider, ModelTools, Toolbox

QUESTION = "Paris is too cold for me. Which of Oslo, Rome and Lima is the warmest now? Book me a seat there."
MAX_TURNS = 30

toolbox = Toolbox()


@toolbox.tool
def weather(city: str) -> dict[str, Any]:
    """The weather in a city, right now."""
    return {"city": city, "celsius": {"Oslo": -3, "Rome": 18, "Lima": 24}.get(city, 15)}


@toolbox.tool
def fares(origin: str) -> dict[str, int]:
    """What a seat costs from a city, in EUR, by destination."""
    return {"Oslo": 140, "Rome": 95, "Lima": 870}


@toolbox.tool
async def book(destination: str) -> str:
    """Book a seat. Takes a moment."""
    await asyncio.sleep(0.2)
    return f"seat 12A to {destination}"


class Model:
    """A model behind a Responses API."""

    def __init__(self, base_url: str, key: str, name: str) -> None:
        self._url = f"{base_url.rstrip('/')}/responses"
        self._key = key
        self._name = name

    async def respond(self, conversation: list[dict[str, Any]], tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What the model says next: the `output` items of its response."""
        body = {"model": self._name, "input": conversation, "tools": tools}
        return await asyncio.to_thread(self._post, json.dumps(body).encode())

    def _post(self, body: bytes) -> list[dict[str, Any]]:
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        request = urllib.request.Request(self._url, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=600) as response:
                output: list[dict[str, Any]] = json.load(response)["output"]
                return output
        except urllib.error.HTTPError as error:
            with error:
                sys.exit(f"the model's API answered {error.code}: {error.read().decode()}")
        except urllib.error.URLError as error:
            sys.exit(f"{self._url} cannot be reached: {error.reason}")


async def converse(model: Model, tools: ModelTools, question: str) -> str:
    """Let the model work until it has an answer."""
    definitions = [definition.openai_responses() for definition in tools.definitions]
    conversation: list[dict[str, Any]] = [{"role": "user", "content": question}]
    for _ in range(MAX_TURNS):
        items = await model.respond(conversation, definitions)
        conversation += items
        calls = [item for item in items if item["type"] in ("custom_tool_call", "function_call")]
        if not calls:
            messages = [item for item in items if item["type"] == "message"]
            return "".join(part["text"] for item in messages for part in item["content"] if "text" in part)
        conversation += await asyncio.gather(*(perform(tools, call) for call in calls))
    return f"no answer after {MAX_TURNS} turns"


async def perform(tools: ModelTools, call: dict[str, Any]) -> dict[str, Any]:
    """Do one call of the model's, and return what to tell it."""
    arguments = call["input"] if call["type"] == "custom_tool_call" else call["arguments"]
    output = await tools.call(call["name"], arguments, call_id=call["call_id"])
    print(f"── {call['name']}\n{arguments}\n── answer\n{output.text}\n")
    return {
        "type": f"{call['type']}_output",
        "call_id": call["call_id"],
        "output": output.openai_responses(),
    }


@contextmanager
def scripted_model() -> Iterator[str]:
    """The base URL of a model that follows a script, in a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name("scripted_model.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        # Leaving the block closes the server's standard input, which ends it.


async def run(model: Model, question: str) -> None:
    async with CodeModeProvider() as provider, provider.session(toolbox) as session:
        print(await converse(model, ModelTools(session, toolbox), question))


def main() -> None:
    question = " ".join(sys.argv[1:]) or QUESTION
    key = os.environ.get("OPENAI_API_KEY")
    if key:
        base_url = os.environ.get("OPENAI_BASE_URL", "https://api.openai.com/v1")
        asyncio.run(run(Model(base_url, key, os.environ.get("OPENAI_MODEL", "gpt-5")), question))
    else:
        with scripted_model() as base_url:
            asyncio.run(run(Model(base_url, "none", "scripted"), question))


if __name__ == "__main__":
    main()
