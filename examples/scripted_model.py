"""A model that follows a script, behind OpenAI's Responses API, on loopback: for the example and for tests.

It checks requests as the real service does and refuses what that would refuse. What it says next depends on what its
tools answered, so that an agent has to hand everything back right.

    python examples/scripted_model.py    # writes its base URL to standard output, and ends with standard input
"""

from __future__ import annotations

import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

LOOK = """\
const cities = ["Oslo", "Rome", "Lima"];
const [fares, ...weather] = await Promise.all([
  tools.fares({ origin: "Paris" }),
  ...cities.map((city) => tools.weather({ city })),
]);
cities.forEach((city, i) => text(`${city}: ${weather[i].celsius} °C, ${fares[city]} EUR`));"""

BOOK = """\
// @exec: {"max_output_tokens": 500}
text("asking for a seat");
yield_control();
text(await tools.book({ destination: "CITY" }));"""


class BadRequest(Exception):
    """What the service answers with status 400."""

    def __init__(self, message: str, param: str | None = "input", code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


# What the model says


def answer(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The output items for a request that was found good: the next step of the script."""
    outputs = [flat_text(item["output"]) for item in body["input"] if item.get("type", "").endswith("_output")]
    names = [tool["name"] for tool in body.get("tools", [])]
    number = len(outputs) + 1
    if not {"exec", "wait"} <= set(names):
        return [message("I have no tools to look with.")]
    if number == 1:
        return [
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_1", "name": "exec", "input": LOOK},
        ]
    found = re.findall(r"^(\w+): (-?\d+) °C, (\d+) EUR$", outputs[0], re.MULTILINE)
    if not found:
        return [message(f"My script did not work:\n{outputs[0]}")]
    city, celsius, fare = max(found, key=lambda line: int(line[1]))
    if number == 2:
        source = BOOK.replace("CITY", city)
        return [{"type": "custom_tool_call", "id": "ctc_2", "call_id": "call_2", "name": "exec", "input": source}]
    cell = re.search(r'cell_id "([^"]+)"', outputs[1])
    if cell is None:
        return [message(f"I expected a running cell:\n{outputs[1]}")]
    if number == 3:
        arguments = json.dumps({"cell_id": cell[1], "until": "end"})
        return [
            {
                "type": "function_call",
                "id": "fc_3",
                "call_id": "call_3",
                "name": "wait",
                "arguments": arguments,
                "status": "completed",
            }
        ]
    ticket = outputs[2].splitlines()[-1]
    return [message(f"{city} is the warmest with {celsius} °C. You have a seat for {fare} EUR: {ticket}.")]


def message(text: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content}


def flat_text(output: str | list[dict[str, Any]]) -> str:
    return output if isinstance(output, str) else "\n".join(part.get("text", "") for part in output)


# What the service checks


def check(body: Any) -> None:
    """Raise `BadRequest` for what the real service refuses."""
    if not isinstance(body, dict):
        raise BadRequest("We could not parse the JSON body of your request.", None)
    known = {"model", "input", "tools", "instructions", "store", "tool_choice", "parallel_tool_calls", "reasoning"}
    fields(body, "", {"model": str}, known)
    if isinstance(body.get("input"), str):
        body["input"] = [{"role": "user", "content": body["input"]}]
    if not isinstance(body.get("input"), list):
        raise BadRequest("Missing required parameter: 'input'.", "input", "missing_required_parameter")
    for index, tool in enumerate(body.get("tools", [])):
        check_tool(tool, f"tools[{index}]")
    check_items(body["input"])


def fields(value: Any, where: str, required: dict[str, type], known: set[str]) -> None:
    """An object's required fields with their types, and no field that the service does not know."""
    if not isinstance(value, dict):
        raise BadRequest(f"Invalid type for '{where}': expected an object.", where, "invalid_type")
    dot = f"{where}." if where else ""
    for name, kind in required.items():
        if name not in value:
            raise BadRequest(f"Missing required parameter: '{dot}{name}'.", dot + name, "missing_required_parameter")
        if not isinstance(value[name], kind):
            raise BadRequest(f"Invalid type for '{dot}{name}': expected {kind.__name__}.", dot + name, "invalid_type")
    for name in value.keys() - required.keys() - known:
        raise BadRequest(f"Unknown parameter: '{dot}{name}'.", dot + name, "unknown_parameter")


def check_tool(tool: Any, where: str) -> None:
    kind = tool.get("type") if isinstance(tool, dict) else None
    if kind == "function":
        fields(tool, where, {"type": str, "name": str, "parameters": dict}, {"description", "strict"})
        schema = tool["parameters"]
        if schema.get("type") != "object":
            raise BadRequest(f"Invalid schema for function '{tool['name']}': schema must be of type object.", where)
        if tool.get("strict", True) and set(schema.get("properties", {})) != set(schema.get("required", [])):
            raise BadRequest(f"Invalid schema for function '{tool['name']}': every property is required.", where)
    elif kind == "custom":
        fields(tool, where, {"type": str, "name": str}, {"description", "format"})
        if tool.get("format", {"type": "text"}).get("type") not in ("text", "grammar"):
            raise BadRequest(f"Invalid value for '{where}.format.type'.", where, "invalid_value")
    else:
        raise BadRequest(f"Invalid value for '{where}.type'.", f"{where}.type", "invalid_value")
    if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", tool["name"]):
        raise BadRequest(f"Invalid '{where}.name': string does not match pattern.", f"{where}.name", "invalid_value")
    if not isinstance(tool.get("description", ""), str):
        raise BadRequest(f"Invalid type for '{where}.description'.", where, "invalid_type")


def check_items(items: list[Any]) -> None:
    """Each item has its form, each output answers a call before it, and no call is left without an output."""
    open_calls: dict[str, str] = {}
    for index, item in enumerate(items):
        where = f"input[{index}]"
        kind = item.get("type", "message") if isinstance(item, dict) else None
        match kind:
            case "message":
                fields(item, where, {"role": str}, {"type", "id", "status", "content"})
                check_content(item.get("content"), f"{where}.content", {"input_text", "output_text", "input_image"})
            case "reasoning":
                fields(item, where, {"type": str, "id": str, "summary": list}, {"encrypted_content"})
            case "function_call" | "custom_tool_call":
                given = "arguments" if kind == "function_call" else "input"
                fields(item, where, {"type": str, "call_id": str, "name": str, given: str}, {"id", "status"})
                open_calls[item["call_id"]] = kind
            case "function_call_output" | "custom_tool_call_output":
                fields(item, where, {"type": str, "call_id": str, "output": object}, {"id", "status"})
                call = kind.removesuffix("_output")
                if open_calls.pop(item["call_id"], None) != call:
                    spoken = call.replace("_", " ")
                    raise BadRequest(f"No tool call found for {spoken} output with call_id {item['call_id']}.")
                check_content(item["output"], f"{where}.output", {"input_text", "input_image", "input_file"})
            case _:
                raise BadRequest(f"Invalid value: '{kind}'.", f"{where}.type", "invalid_value")
    for call_id, call in open_calls.items():
        raise BadRequest(f"No tool output found for {call.replace('_', ' ')} {call_id}.")


def check_content(content: Any, where: str, kinds: set[str]) -> None:
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise BadRequest(f"Invalid type for '{where}': expected a string or an array.", where, "invalid_type")
    for index, part in enumerate(content):
        here = f"{where}[{index}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in kinds:
            raise BadRequest(f"Invalid value for '{here}.type': '{kind}'.", f"{here}.type", "invalid_value")
        if kind == "input_image":
            fields(part, here, {"type": str, "image_url": str}, {"detail"})
            if not re.match(r"data:image/[\w.+-]+;base64,|https?://", part["image_url"]):
                raise BadRequest(f"Invalid '{here}.image_url'.", here, "invalid_value")
            if part.get("detail", "auto") not in ("auto", "low", "high", "original"):
                raise BadRequest(f"Invalid value for '{here}.detail'.", here, "invalid_value")
        elif kind != "input_file":
            fields(part, here, {"type": str, "text": str}, {"annotations", "logprobs"})


# The server


class ScriptedModel:
    """The server, on a free port of 127.0.0.1. A context manager; `requests` are the bodies that it found good."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        model = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, reply = model.reply(self.path, self.headers.get("Authorization", ""), raw)
                data = json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.base_url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def reply(self, path: str, authorization: str, raw: bytes) -> tuple[int, dict[str, Any]]:
        """The status and the body for one request."""
        if path != "/v1/responses":
            return 404, failure(f"Invalid URL (POST {path})", None, None)
        if not re.fullmatch(r"Bearer \S+", authorization):
            return 401, failure("You didn't provide an API key.", None, "invalid_api_key")
        try:
            body = json.loads(raw)
            check(body)
        except ValueError:
            return 400, failure("We could not parse the JSON body of your request.", None, None)
        except BadRequest as error:
            return 400, failure(str(error), error.param, error.code)
        self.requests.append(body)
        return 200, {
            "id": f"resp_{len(self.requests)}",
            "object": "response",
            "created_at": 0,
            "status": "completed",
            "error": None,
            "incomplete_details": None,
            "model": body["model"],
            "output": answer(body),
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": body.get("tools", []),
            "usage": {"input_tokens": len(raw) // 4, "output_tokens": 1, "total_tokens": len(raw) // 4 + 1},
        }


def failure(text: str, param: str | None, code: str | None) -> dict[str, Any]:
    return {"error": {"message": text, "type": "invalid_request_error", "param": param, "code": code}}


if __name__ == "__main__":
    with ScriptedModel() as served:
        print(served.base_url, flush=True)
        sys.stdin.read()
