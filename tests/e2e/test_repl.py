"""`codemode repl`: in a real terminal, and with cells piped in."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import msgspec
import pytest
import trio

from codemode_client import CodeModeProvider, Toolbox
from codemode_client._cli.console.display import JsonDisplay
from codemode_client._cli.console.repl import Repl
from codemode_protocol.values import Result
from tests.client.host_process import end_host
from tests.e2e.commands import (
    CODEMODE,
    CTRL_C_IGNORED,
    TOOLS,
    find_host,
    make_environment,
    run_codemode,
    start_codemode,
)
from tests.e2e.terminal import PROMPT, Terminal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mytools.py").write_text(TOOLS)
    return tmp_path


def open_prompt(folder: Path, *arguments: str, **more: str) -> Terminal:
    """A prompt that is ready, with a history of its own."""
    terminal = Terminal(
        [*CODEMODE, "repl", *arguments], cwd=folder, env=make_environment(XDG_STATE_HOME=str(folder / "state"), **more)
    )
    try:
        terminal.wait_for(PROMPT)
    except BaseException:
        terminal.__exit__(None, None, None)
        raise
    return terminal


def leave(terminal: Terminal) -> None:
    """Type Ctrl-D at the prompt that is there; the program ends well."""
    terminal.write("\x04")
    assert terminal.end() == 0


# In a terminal


def test_a_prompt_shows_values_and_goes_on_with_unfinished_input(folder: Path) -> None:
    with open_prompt(folder, "--tools", "mytools:toolbox") as terminal:
        terminal.write("6 * 7\r")
        terminal.wait_for("\n42\r\n")
        terminal.wait_for(PROMPT)
        terminal.write("await tools.add({\ra: 40,\rb: 3 })\r")
        terminal.wait_for("\n43\r\n")
        terminal.wait_for(PROMPT)
        terminal.write("store('kept', [1, 'two'])\r")
        terminal.wait_for(PROMPT)
        terminal.write("load('kept')\r")
        terminal.wait_for('\n[1, "two"]\r\n')
        terminal.wait_for(PROMPT)
        terminal.write("1 +\x1b\r")  # Esc Enter
        terminal.wait_for("SyntaxError")
        terminal.wait_for(PROMPT)
        terminal.write("\x04")
        assert terminal.end() == 0


def test_ctrl_c_ends_the_running_cell_and_the_prompt_stays(folder: Path) -> None:
    with open_prompt(folder) as terminal:
        terminal.write("text('loop' + 'ing'); for (;;) {}\r")
        terminal.wait_for("looping")
        terminal.write("\x03")
        terminal.wait_for("the cell was terminated")
        terminal.wait_for(PROMPT)
        terminal.write("given up\x03")
        terminal.wait_for(PROMPT)
        terminal.write("'still' + ' here'\r")
        terminal.wait_for('"still here"')
        terminal.wait_for(PROMPT)
        terminal.write(".exit\r")
        assert terminal.end() == 0


def test_tab_completes_tools_and_globals(folder: Path) -> None:
    with open_prompt(folder, "--tools", "mytools:toolbox") as terminal:
        terminal.write("await tools.a\t")
        terminal.wait_for("dd")
        terminal.write("({ a: 1, b: 1 }) + 1000\r")
        terminal.wait_for("\n1002\r\n")
        terminal.wait_for(PROMPT)
        terminal.write("typeof stream_\t")
        terminal.wait_for("settled")
        terminal.write("\r")
        terminal.wait_for('\n"function"\r\n')
        terminal.wait_for(PROMPT)
        leave(terminal)


def test_the_prompts_own_commands(folder: Path) -> None:
    with open_prompt(folder, "--tools", "mytools:toolbox") as terminal:
        for typed, answer in [
            (".help", "Each input runs as a cell of its own"),
            (".tools", "tools.add  Add two numbers."),
            (".tools add", "Promise<number"),
            (".tools nope", "there is no tool nope"),
            (".nope", "there is no command .nope"),
        ]:
            terminal.write(f"{typed}\r")
            terminal.wait_for(answer)
            terminal.wait_for(PROMPT)
        leave(terminal)


def test_history_is_kept_for_its_owner_alone(folder: Path) -> None:
    with open_prompt(folder) as terminal:
        terminal.write("'hi' + 'story'\r")
        terminal.wait_for('"history"')
        terminal.wait_for(PROMPT)
        terminal.write("\x04")
        assert terminal.end() == 0
    history = folder / "state" / "codemode" / "repl-history"
    assert history.stat().st_mode & 0o777 == 0o600
    with open_prompt(folder) as terminal:
        terminal.write("\x1b[A")  # up
        terminal.wait_for("'story'")
        terminal.write("\r")
        terminal.wait_for('"history"')


def test_without_its_extra_a_prompt_says_which_one_it_needs(folder: Path) -> None:
    missing = folder / "missing"
    missing.mkdir()
    (missing / "prompt_toolkit.py").write_text("raise ImportError('not here')\n")
    path = os.pathsep.join([str(missing), make_environment()["PYTHONPATH"]])
    with Terminal([*CODEMODE, "repl"], cwd=folder, env=make_environment(PYTHONPATH=path)) as terminal:
        terminal.wait_for("pip install 'codemode-host[repl]'")
        assert terminal.end() == 2
        assert "Traceback" not in terminal.text
    assert run_codemode(folder, "repl", stdin="1 + 1", PYTHONPATH=path).stdout == "2\n"


def test_a_lost_host_is_said_and_survived(folder: Path) -> None:
    with open_prompt(folder) as terminal:
        terminal.write("store('kept', 1)\r")
        terminal.wait_for(PROMPT)
        os.kill(find_host(terminal.process.pid), signal.SIGKILL)
        terminal.write("text(String(load('kept')))\r")
        terminal.wait_for("what was stored")
        terminal.wait_for(PROMPT)
        terminal.write("text(String(load('kept')) + '!')\r")
        terminal.wait_for("\nundefined!\r\n")
        terminal.wait_for(PROMPT)
        leave(terminal)


# From a pipe


def test_piped_cells_are_separated_by_blank_lines_outside_of_statements(folder: Path) -> None:
    cells = 'store("a", [1]);\n\nfor (const x of load("a")) {\n\n  text(x);\n\n}\nload("a")\n\n\nnull.x\n\n"last"'
    done = run_codemode(folder, "repl", stdin=cells)
    assert (done.returncode, done.stdout) == (1, '1\n[1]\n"last"\n')
    assert "TypeError" in done.stderr
    assert "<cell>:1:1" in done.stderr
    assert "    1 | null.x\n" in done.stderr
    assert run_codemode(folder, "repl").returncode == 0


def test_a_cell_is_answered_before_the_next_one_is_written(folder: Path) -> None:
    with start_codemode(folder, "repl", "--json") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number in range(3):
            process.stdin.write(f"text('out {number}'); {number}\n\n")
            events = [json.loads(process.stdout.readline()) for _ in range(3)]
            assert events == [
                {"type": "output", "item": {"type": "input_text", "text": f"out {number}"}},
                {"type": "value", "text": str(number)},
                {"type": "result", "cell_id": str(number + 1), "error_text": None},
            ]
        os.kill(find_host(process.pid), signal.SIGKILL)
        process.stdin.write("1\n\n")
        assert json.loads(process.stdout.readline())["type"] == "lost"
        process.stdin.write("// @exec: nonsense\n2\n\n")
        events = [json.loads(line) for line in process.stdout.readline().splitlines()]
        while events[-1]["type"] != "refused":
            events.append(json.loads(process.stdout.readline()))
        process.stdin.close()
        assert process.wait(timeout=20) == 1


@pytest.mark.loops("asyncio")
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
async def test_the_end_of_a_host_is_told_once_and_first_whenever_it_is_noticed(
    turns: int, capsys: pytest.CaptureFixture[str]
) -> None:
    toolbox = Toolbox()
    async with CodeModeProvider() as provider, provider.session(toolbox) as session:
        await session.run("")
        repl = Repl(session, toolbox, JsonDisplay())
        # The client learns of it in the loop's next turn, wherever the cell is then: sent to that host, between its
        # first step and its sending, or not begun.
        end_host(provider)

        async def run() -> None:
            for _ in range(turns - 1):
                await asyncio.sleep(0)
            await repl.run("1")
            await repl.run("2")

        await (run() if turns == 0 else asyncio.create_task(run()))
    told = [json.loads(line)["type"] for line in capsys.readouterr().out.splitlines()]
    assert told in (["lost", "value", "result"], ["lost", "value", "result", "value", "result"])


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_ctrl_c_ends_it_when_cells_are_piped_in(folder: Path, more: list[str]) -> None:
    with start_codemode(folder, "repl", *more) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("text('looping')\n\n")
        assert "looping" in process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=20) == 130
        assert process.stderr is not None
        assert process.stderr.read() == "interrupted\n"


def test_ctrl_c_that_was_ignored_when_it_was_started_stays_ignored(folder: Path) -> None:
    with start_codemode(folder, "repl", before=CTRL_C_IGNORED) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("text('looping')\n\n")
        assert "looping" in process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        process.stdin.write("text('it goes on')\n\n")
        assert "it goes on" in process.stdout.readline()
        process.stdin.close()
        assert process.wait(timeout=20) == 0


# What a value looks like, and what showing it must not change

VALUES = [
    ("undefined", []),
    ("'a\"b'", [r'"a\"b"']),
    ("-0", ["-0"]),
    ("10n ** 20n", ["100000000000000000000n"]),
    ("null", ["null"]),
    ("Symbol('s')", ["Symbol(s)"]),
    (
        "({ a: 1, 'b c': [undefined, , 3], get d() { throw 1 } })",
        ['{ a: 1, "b c": [undefined, <empty>, 3], d: [Getter] }'],
    ),
    ("const a = { n: 1 }; a.self = a; a", ["{ n: 1, self: [Circular] }"]),
    ("new Map([['k', new Set([1])]])", ['Map(1) { "k" => Set(1) { 1 } }']),
    ("class Point { x = 1 }; new Point()", ["Point { x: 1 }"]),
    ("Object.create(null)", ["[Object: null prototype] {}"]),
    ("new Date(0)", ["1970-01-01T00:00:00.000Z"]),
    ("/a(b)/g", ["/a(b)/g"]),
    ("(function named() {})", ["[Function: named]"]),
    ("[class {}]", ["[[class (anonymous)]]"]),
    ("new Uint8Array(3)", ["Uint8Array(3) [0, 0, 0]"]),
    ("[1, [2, [3, [4, [5, [6]]]]]]", ["[1, [2, [3, [4, [5, [Array]]]]]]"]),
    ("Array.from({ length: 200 }, (_, i) => i).slice(0, 3)", ["[0, 1, 2]"]),
    ("tools", ["{ add: [Function: (anonymous)] }"]),
    ("new Proxy({}, { ownKeys() { throw 'no' } })", ["[a value that cannot be shown: no]"]),
    ("await 5", ["5"]),
    ("const text = 1; text", ["1"]),
    ("(1, 2)", ["2"]),
    ("1; 2 // two", ["2"]),
]

SIDE_EFFECTS = [
    "throw new SyntaxError('not of the compiler')",
    "eval('(')",
    "JSON.parse('{')",
    "text(1); eval('1 +')",
    "text('once'); (() => { text('twice'); throw new SyntaxError('x') })()",
    "{ text(1) }",
    "if (load('n')) text(1); else text(2)",
    "let i = 0; do { text(i) } while (i++ < 2)",
    "f()\nfunction f() { text('hoisted') }",
    "let x = 1\n++x\ntext(x)",
    "import { text as say } from '@openai/code_mode'; say(3)",
    "a: text(4)",
    "exit(); text(5)",
    "text(/;(foo)/.test(';foo'))",
    "const g = {}\n/;(text)/.test(g)",
    "setTimeout(() => text('never')); text(6)",
    "var s = ''; for (const c of 'ab')\n s += c\ntext(s)",
    "text(7);;;",
    "`${text(8)}`",
    "1 +",
]


def read_events(folder: Path, cells: list[str], *arguments: str) -> list[list[dict[str, object]]]:
    """The events of each of these cells."""
    done = run_codemode(folder, "repl", "--json", *arguments, stdin="\n\n".join(cells))
    assert done.stderr == ""
    told: list[list[dict[str, object]]] = [[]]
    for line in done.stdout.splitlines():
        told[-1].append(json.loads(line))
        if told[-1][-1]["type"] == "result":
            told.append([])
    assert told.pop() == []
    return told


def test_values_are_shown_as_javascript_writes_them(folder: Path) -> None:
    told = read_events(folder, [source for source, _ in VALUES], "--tools", "mytools:toolbox")
    shown = [[event["text"] for event in cell if event["type"] == "value"] for cell in told]
    assert dict(zip([source for source, _ in VALUES], shown, strict=True)) == dict(VALUES)


async def test_showing_a_value_changes_nothing_that_a_cell_does(folder: Path) -> None:
    told = await trio.to_thread.run_sync(read_events, folder, SIDE_EFFECTS)
    async with CodeModeProvider() as provider, provider.session(Toolbox()) as session:
        for source, shown in zip(SIDE_EFFECTS, told, strict=True):
            plain = await session.run(source)
            assert isinstance(plain, Result)
            error = None if plain.error_text is None else plain.error_text.replace("exec_main.mjs", "<cell>")
            output = [event["item"] for event in shown if event["type"] == "output"]
            assert (output, shown[-1]["error_text"]) == (msgspec.to_builtins(plain.content_items), error), source
