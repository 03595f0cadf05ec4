"""What a model is told is true: the TypeScript compiler reads the declarations, a real cell has what they name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from msgspec import Raw

from codemode_client import CodeModeProvider, Toolbox
from codemode_protocol.descriptions import exec_description
from codemode_protocol.helpers import NAMES
from codemode_protocol.typescript import declarations, schema_type, tool_signature, with_declarations
from codemode_protocol.values import ExecuteRequest, InputText, Result, ToolDefinition, ToolKind, ToolName
from tests.e2e import mcp_tool_lists
from tests.e2e.compiler import CompilerMissing, compiler, complaints
from tests.protocol.schemas import Sample, samples

SAMPLES = 500
RESERVED = """
    break case catch class const constructor continue debugger default delete do else enum export extends false
    finally for function get if implements import in instanceof interface let new null package private protected
    public readonly return set static super switch this throw true try typeof var void while with yield abstract
    accessor any as async await declare is keyof module namespace never number of out override require satisfies
    string symbol type undefined unique unknown using __proto__ prototype then toString
"""

Check = Callable[[Mapping[str, str]], list[str]]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    def compiled(files: Mapping[str, str]) -> list[str]:
        try:
            return complaints(tmp_path, files)
        except CompilerMissing as missing:
            pytest.skip(str(missing))

    return compiled


def tool(name: str, schema: Any = None, output: Any = None, **more: Any) -> ToolDefinition:
    # json, for it writes a lone surrogate as the escape that it can be in a schema.
    schemas = [Raw(json.dumps(each).encode()) for each in (schema, output)]
    return ToolDefinition(name, ToolName(name), more.pop("description", ""), ToolKind.FUNCTION, *schemas)


@pytest.fixture(scope="module")
def generated() -> list[Sample]:
    found: list[Sample] = []

    @settings(max_examples=SAMPLES, phases=[Phase.generate], database=None, suppress_health_check=list(HealthCheck))
    @given(samples())
    def collect(sample: Sample) -> None:
        found.append(sample)

    collect()
    return found


# The compiler


def test_the_compiler_accepts_500_generated_schemas_and_values_that_they_take(
    generated: list[Sample], check: Check
) -> None:
    tools = [tool(f"t{index}", each.schema, each.schema, description="*/ ok") for index, each in enumerate(generated)]
    uses = []
    for each, definition in zip(generated, tools, strict=True):
        assert schema_type(each.schema) in tool_signature(definition)
        result = f"Awaited<ReturnType<typeof tools.{definition.name}>>"
        for value in each.values:
            text = json.dumps(value)
            uses.append(f"{{ const result: {result} = {text}; void result; }}")
            if not tool_signature(definition).startswith(f"{definition.name}():"):
                uses.append(f"void tools.{definition.name}({text});")
    assert len(tools) == SAMPLES
    assert len(uses) > SAMPLES
    assert check({"globals.d.ts": declarations(tools), "uses.ts": "\n".join(uses)}) == []


WRONG = ("", "{}", "{ must: 'text' }", "{ must: null }", "[1]", "{ must: 1, unheard_of: 1 }", "{ must: 1 }, 2")


def test_the_compiler_rejects_wrong_calls_of_tools_with_generated_arguments(
    generated: list[Sample], check: Check
) -> None:
    tools = []
    uses = []
    for index, each in enumerate(generated[:100]):
        schema = {
            "type": "object",
            "properties": {"must": {"type": "integer"}, "may": each.schema},
            "required": ["must"],
            # `$ref` starts at the root.
            "$defs": each.schema.get("$defs") if isinstance(each.schema, dict) else {},
        }
        tools.append(tool(f"t{index}", schema))
        uses.append(f"void tools.t{index}({{ must: 1 }});")
        uses += [f"// @ts-expect-error\nvoid tools.t{index}({arguments});" for arguments in WRONG]
    assert check({"globals.d.ts": declarations(tools), "uses.ts": "\n".join(uses)}) == []


def test_calls_of_mcp_servers_tools_are_told_right_from_wrong(check: Check) -> None:
    uses = """
        const { structuredContent: found, content: blocks } = await tools.github__search_issues({ query: "a", order: "asc" });
        for (const issue of found?.items ?? []) {
          text(issue.number.toFixed() + issue.title + issue.user?.login + (issue.score ?? 0) + issue.reactions["+1"]);
          for (const label of issue.labels) text(typeof label === "string" ? label : label.name);
          // @ts-expect-error nullable
          text(issue.user.login);
          // @ts-expect-error not one of the states
          text(issue.state === "merged");
          // @ts-expect-error not there
          text(issue.body);
        }
        for (const block of blocks) if (block.type === "text") text(block.text); else content(block);
        content(blocks);
        const file = await tools.filesystem__read_text_file({ path: "a", head: 3 });
        text(file.structuredContent?.content.length);
        await tools.filesystem__list_allowed_directories();
        await tools.filesystem__edit_file({ path: "a", edits: [{ oldText: "a", newText: "b" }], dryRun: true });
        await tools.git__git_log({ repo_path: ".", start_timestamp: null });
        const page = await tools.fetch__fetch({ url: "https://example.org", raw: false });
        const first = page.content[0];
        if (first?.type === "resource") text(first.resource.uri);
        await tools.github__submit_review({
          pull: 1, event: "COMMENT",
          comments: [{ path: "a", body: "b", line: 1 }, { path: "a", body: "b", range: [1, 2] }],
          extra: { a: 1, b: "c" },
        });
        // @ts-expect-error found may be missing
        found.items;
        // @ts-expect-error no such tool
        await tools.filesystem__format_disk();
        // @ts-expect-error a required argument is missing
        await tools.filesystem__read_text_file({ head: 3 });
        // @ts-expect-error arguments are missing
        await tools.filesystem__read_text_file();
        // @ts-expect-error no such argument
        await tools.filesystem__read_text_file({ path: "a", lines: 3 });
        // @ts-expect-error a number
        await tools.filesystem__read_text_file({ path: "a", head: "3" });
        // @ts-expect-error nested: a required property is missing
        await tools.filesystem__edit_file({ path: "a", edits: [{ oldText: "a" }] });
        // @ts-expect-error not an array
        await tools.filesystem__search_files({ path: "a", pattern: "*", excludePatterns: "b" });
        // @ts-expect-error not one of the values
        await tools.filesystem__list_directory_with_sizes({ path: "a", sortBy: "date" });
        // @ts-expect-error takes no arguments
        await tools.filesystem__list_allowed_directories(1);
        // @ts-expect-error null only where it may be
        await tools.git__git_log({ repo_path: ".", max_count: null });
        // @ts-expect-error neither a line nor a range
        await tools.github__submit_review({ pull: 1, event: "COMMENT", comments: [{ path: "a", body: "b" }] });
        // @ts-expect-error a range of three
        await tools.github__submit_review({ pull: 1, event: "COMMENT", comments: [{ path: "", body: "", range: [1, 2, 3] }] });
        // @ts-expect-error values of a map
        await tools.github__submit_review({ pull: 1, event: "COMMENT", extra: { a: true } });
        // @ts-expect-error a promise
        (tools.fetch__fetch({ url: "https://example.org" })).content;
        // @ts-expect-error not every block has text
        page.content[0].text;
    """  # noqa: E501 - one call on a line
    tools = mcp_tool_lists.definitions()
    assert check({"globals.d.ts": declarations(tools), "uses.ts": uses}) == []


def test_calls_of_the_globals_are_told_right_from_wrong(check: Check) -> None:
    uses = """
        import * as all from "@openai/code_mode";
        import { tools as own, ALL_TOOLS as listed, } from "tools.js";
        text(1); text({ a: 1 }); text(undefined);
        image("data:,", "low"); image({ image_url: "data:,", detail: "auto" }); image({ type: "image", data: "AA" });
        audio("data:,"); audio({ audio_url: "data:," }); audio({ type: "audio", data: "AA", mimeType: "audio/wav" });
        content({ type: "text", text: "" }); content([{ type: "image", data: "AA", mimeType: "image/png" }]);
        generatedImage({ image_url: "data:,", output_hint: "" });
        store("key", [1]); const loaded: number[] = load("key"); notify("x"); yield_control();
        const timer: number = setTimeout(() => {}, 10); setTimeout(async () => {}); clearTimeout(timer); clearTimeout();
        for await (const result of as_settled([Promise.resolve(1), 2])) {
          const index: number = result.index;
          if (result.status === "fulfilled") result.value.toFixed(); else text(result.reason);
        }
        for await (const { index } of as_settled(new Map([["a", Promise.resolve(1)]]))) index.trim();
        await stream_settled(new Set([Promise.resolve("a")]), (result) => { if (result.status === "rejected") text(result.reason); });
        for (const { name, description } of ALL_TOOLS) text(name.trim() + description.trim());
        all.text(1); all.tools.ask("question"); own.ask("question"); text(listed.length);
        const answer = await tools.ask("question");
        // @ts-expect-error unknown
        answer.trim();
        // @ts-expect-error free text
        await tools.ask({ question: "" });
        // @ts-expect-error free text
        await tools.ask();
        // @ts-expect-error no such level of detail
        image("data:,", "huge");
        // @ts-expect-error no such block
        content({ type: "video" });
        // @ts-expect-error no value
        store("key");
        // @ts-expect-error not awaited
        for (const result of as_settled([])) text(result);
        // @ts-expect-error a callback is missing
        stream_settled([]);
        // @ts-expect-error not in a cell
        console.log(1);
        // @ts-expect-error not in a cell
        fetch("https://example.org");
        // @ts-expect-error not in a cell
        import "node:fs";
        exit();
    """  # noqa: E501 - one call on a line
    ask = msgspec.structs.replace(tool("ask"), kind=ToolKind.FREEFORM)
    assert check({"globals.d.ts": declarations([ask]), "uses.ts": uses}) == []


def test_words_of_the_language_are_names_of_tools_and_properties(check: Check) -> None:
    uses = []
    tools = []
    for name in RESERVED.split():
        schema = {"type": "object", "properties": {name: {"type": "integer"}}, "required": [name]}
        tools.append(tool(name, schema, schema))
        uses.append(f"(await tools.{name}({{ {name}: 1 }})).{name}.toFixed();")
        # __proto__ of a literal is no property of it.
        uses.append(f"// @ts-expect-error\n(await tools.{name}({{ {name}: 'text' }}));")
    # A description that looks like the compiler's own words to it.
    tools += [tool("one", description="@ts-expect-error"), tool("two", description="a\n// @ts-ignore"), tool("three")]
    assert check({"globals.d.ts": declarations(tools), "uses.ts": "\n".join(uses)}) == []


def test_without_npm_or_a_way_to_its_packages_the_reason_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing listens there.
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    with pytest.raises(CompilerMissing, match=r"npm could not fetch .*ECONNREFUSED|npm is not installed"):
        compiler(tmp_path / "unreachable")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(CompilerMissing, match="npm is not installed"):
        compiler(tmp_path / "without")


# A real cell


async def printed(source: str, tools: list[ToolDefinition], command: list[str]) -> list[str]:
    async with CodeModeProvider(command) as provider, provider.session(Toolbox()) as session:
        started = await session.execute(ExecuteRequest("call", tools, source))
        response = await started.initial_response()
        assert isinstance(response, Result)
        assert response.error_text is None
        return [item.text for item in response.content_items if isinstance(item, InputText)]


async def test_the_declarations_name_the_globals_of_a_cell_and_no_others(own_host_command: list[str]) -> None:
    source = """
        import * as all from "@openai/code_mode";
        import * as own from "tools.js";
        text([Object.keys(globalThis), Object.keys(all), Object.keys(own)].map((names) => names.sort()));
    """
    [found] = await printed(source, [], own_host_command)
    global_names, all_names, own_names = json.loads(found)
    text = declarations([])
    assert set(re.findall(r"^declare (?:function|var) (\w+)", text, flags=re.MULTILINE)) == set(NAMES)
    assert global_names == sorted(NAMES)
    assert all_names == sorted(NAMES)
    assert own_names == ["ALL_TOOLS", "tools"]
    assert [line for line in text.splitlines() if line.startswith("declare module")] == [
        'declare module "@openai/code_mode" {',
        'declare module "tools.js" {',
    ]


async def test_whatever_is_global_in_a_cell_is_known_to_the_compiler(own_host_command: list[str], check: Check) -> None:
    source = "text(Object.getOwnPropertyNames(globalThis))"
    [found] = await printed(source, [], own_host_command)
    names = set(json.loads(found)) - {"debuggerGlobal"}  # empty, but the engine does not let go of it
    assert len(names) > 60
    uses = "\n".join(f"void {name};" for name in names)
    assert check({"globals.d.ts": declarations([]), "uses.ts": uses}) == []


async def test_a_script_finds_declarations_the_way_that_the_description_shows(own_host_command: list[str]) -> None:
    tools = mcp_tool_lists.definitions()
    description = exec_description(tools, max_characters=0)
    [snippet] = re.findall(r"```js\n(.*?)```", description, flags=re.DOTALL)
    [found] = await printed(snippet.replace("WORD", "DIRECTORY"), with_declarations(tools), own_host_command)
    assert "List what is in a directory, with sizes.\n\nfilesystem__list_directory_with_sizes(args: {" in found
    assert "git__git_log" not in found


# The page about it

PAGE = Path(__file__).resolve().parents[2] / "docs" / "declarations.md"


def test_the_page_shows_types_as_they_are() -> None:
    rows = re.findall(r"^\| `(\{.*\})` \| `(.*)` \|$", PAGE.read_text(), flags=re.MULTILINE)
    assert len(rows) > 20
    shown = {schema: text.replace("\\|", "|") for schema, text in rows}
    assert {schema: schema_type(json.loads(schema)) for schema in shown} == shown


def test_the_example_of_the_page_prints_what_stands_below_it(capsys: pytest.CaptureFixture[str]) -> None:
    [(source, output)] = re.findall(r"```python\n(.*?)```\n\n```ts\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    exec(source, {})
    assert capsys.readouterr().out == output
