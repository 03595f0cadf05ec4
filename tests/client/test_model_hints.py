"""Each hint is given for the mistake that it is about, as the real engine reports it, and for no other."""

from __future__ import annotations

import time

import pytest

from codemode_client import CodeModeProvider, ModelTools
from codemode_client._model.hints import HINTS, MAX_LISTED, hint, suggestion
from tests.client.recorder import Recorder, define_tool

# The loops differ below sessions, where others prove it on each.
pytestmark = pytest.mark.loops("asyncio")

FENCE = "Markdown fence"
TYPESCRIPT = "If this is TypeScript"
MODULES = "no modules to load"
NETWORK = "no network"
NODE = "not Node.js"
BROWSER = "not a browser"
TEXT = "Write output with text(value)"
TIMERS = "Of timers there is setTimeout"
WEB = "none of the web's"
STRICT = "strict mode"
RETURN = "no `return` at the top level"
VALUE = "What a tool returned is a value already"

MISTAKES = {
    "```js\ntext(1)\n```": FENCE,
    "```\nconst a = `${1}`;\n```": FENCE,
    "text(1)\n```": FENCE,
    "const a: number = 1": TYPESCRIPT,
    "let a: string = 'b'": TYPESCRIPT,
    "let a!: string": TYPESCRIPT,
    "const a = b!;": TYPESCRIPT,
    "function f(a: string): void {}": TYPESCRIPT,
    "const f = (a: string) => a": TYPESCRIPT,
    "interface A { a: string }": TYPESCRIPT,
    "type A = { a: string }": TYPESCRIPT,
    "declare const a: any;": TYPESCRIPT,
    "const a = 1 as number": TYPESCRIPT,
    "enum A { B }": TYPESCRIPT,
    "import type { A } from 'a'": TYPESCRIPT,
    "return 1": RETURN,
    "if (true) { return text(1) }": RETURN,
    "import fs from 'fs'": MODULES,
    "const fs = await import('node:fs')": MODULES,
    "require('fs')": MODULES,
    "module.exports = {}": MODULES,
    "await fetch('http://localhost')": NETWORK,
    "new XMLHttpRequest()": NETWORK,
    "process.env.HOME": NODE,
    "Buffer.from('a')": NODE,
    "global.x": NODE,
    "document.title": BROWSER,
    "localStorage.getItem('a')": BROWSER,
    "console.log(1)": TEXT,
    "print(1)": TEXT,
    "await sleep(1)": TIMERS,
    "setInterval(() => {}, 1)": TIMERS,
    "new URL('http://localhost')": WEB,
    "structuredClone({})": WEB,
    "crypto.randomUUID()": WEB,
    "count = 1": STRICT,
    "JSON.parse(await tools.read_file({}))": VALUE,
    "await tools.readfile()": "There is no tool `readfile`. Did you mean tools.read_file?",
    "await tools['read-file']()": "There is no tool `read-file`. Did you mean tools.read_file?",
    'await tools["list"]()': "There is no tool `list`. Did you mean tools.list_files?",
    "await tools.weather({})": "There is no tool `weather`. The tools are: tools.read_file, tools.list_files.",
    "await tools.fs.read()": "There is no tool `fs`.",
    "await read_file({})": "Tools are functions of `tools`: await tools.read_file(…).",
}

NO_MISTAKES_OF_THESE = [
    "null.x",
    "text(1",
    "const x;",
    "foo()",
    "throw 'ReferenceError'",
    "throw new Error('fetch is not defined')",
    "({a: 1) // shown as text",
    "tools.read_file.x.y()",
    "text('```'); const",
    "await tools.read_file().x.y",
]


async def test_each_mistake_gets_its_hint_and_each_hint_has_its_mistake(host_command: list[str]) -> None:
    definitions = [define_tool("read_file"), define_tool("list_files")]
    given = set()
    async with CodeModeProvider(host_command) as provider, provider.session(Recorder()) as session:
        tools = ModelTools(session, definitions)
        for source, expected in MISTAKES.items():
            result = await tools.exec(source)
            assert result.status == "failed", source
            _, found, text = result.text.partition("\n\nHint: ")
            assert found, (source, result.text)
            assert expected in text, source
            given.add(text)
        for source in NO_MISTAKES_OF_THESE:
            result = await tools.exec(source)
            assert result.status == "failed", source
            assert "Hint:" not in result.text, (source, result.text)
    assert {row.text for row in HINTS} <= given


async def test_what_the_hints_recommend_works(host_command: list[str]) -> None:
    async with CodeModeProvider(host_command) as provider, provider.session(Recorder()) as session:
        tools = ModelTools(session, [define_tool("read_file")])
        result = await tools.exec(
            "await new Promise((resolve) => setTimeout(resolve, 1)); store('a', {b: 1}); text(load('a'));"
            "text(ALL_TOOLS.map((tool) => tool.name)); text(typeof Intl); exit(); null.x"
        )
        assert result.text.split("\n")[-3:] == ['{"b":1}', '["read_file"]', "object"]
        assert result.status == "completed"


def test_many_tools_are_not_listed_but_pointed_to() -> None:
    many = [f"tool_{number}" for number in range(MAX_LISTED + 1)]
    assert suggestion("weather", many) == "ALL_TOOLS lists the 13 tools: {name, description}."
    assert suggestion("tool_1x", many).startswith("Did you mean tools.tool_1")
    assert suggestion("weather", []) == "No tools are enabled."


@pytest.mark.parametrize(
    "piece", ["type A<", "const a ", "const a\n\n", "(a ", ", a", ") ", "a!", "\n```", "\n   ", "declare ", " " * 50]
)
def test_a_search_takes_no_time_to_speak_of_in_whatever_a_model_writes(piece: str) -> None:
    started = time.process_time()
    for error in ("unexpected token: identifier", "unexpected token: ':'", "missing ) in parenthetical"):
        hint(f"SyntaxError: {error}", piece * 200_000, [])
        hint(f"SyntaxError: {error}", "const a" + piece[-1] * 200_000, [])
    assert time.process_time() - started < 5
    assert len(hint(f"TypeError: tools.{'a' * 1_000_000} is not a function", None, ["b"] * 100) or "") < 1000


def test_a_tool_that_is_there_is_not_the_mistake() -> None:
    assert hint("TypeError: tools.a is not a function", None, ["a"]) is None
