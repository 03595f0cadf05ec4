"""A script is an async module whose end the engine alone decides, as on the reference host."""

# ruff: noqa: E501 - scripts and what they say stand on one line

from __future__ import annotations

import re
from typing import Any

import pytest

from codemode_host.runtimes.link import EXIT_OUT_OF_MEMORY

FILE = "exec_main.mjs"


def test_a_script_is_a_strict_async_module(run: Any) -> None:
    ran = run(
        "text([this === undefined, typeof arguments, typeof require, await 1]);"
        " try { undeclared = 1 } catch (e) { text(e.name) }"
        " text([typeof import.meta, Object.getPrototypeOf(import.meta), Object.keys(import.meta).length]);"
    )
    assert ran.items == ['[true,"undefined","undefined",1]', "ReferenceError", '["object",null,0]']
    assert ran.error is None


@pytest.mark.parametrize(
    "source", ["", "   ", "// nothing", "#!hashbang\n1", "export const a = 1", "export default function () {}"]
)
def test_what_a_module_may_be_ends_well(run: Any, source: str) -> None:
    ran = run(source)
    assert (ran.error, ran.stored, ran.items) == (None, {}, [])


@pytest.mark.parametrize(
    "source",
    [
        "return 5", "let a; let a", "with ({}) {}", "}); text('out'); (async () => {", "text(new.target)", "0777", "await",
        "text('not run'); import {", "for (;;", "`", "yield 1", "<!-- x", "delete x", "break",
    ],
)  # fmt: skip
def test_what_is_no_module_is_a_syntax_error_and_does_not_run(run: Any, source: str) -> None:
    ran = run(source)
    assert re.fullmatch(r"SyntaxError: .*\n    at exec_main\.mjs:\d+:\d+", ran.error)
    assert ran.items == []


def test_a_syntax_error_says_where_it_is(run: Any) -> None:
    assert run("text(1);\n  const x = ;").error.endswith("\n    at exec_main.mjs:2:13")


@pytest.mark.parametrize(
    ("source", "frames"),
    [
        ("throw new Error('e')", ["1:7"]),
        ("function f() {\n  throw new Error('e')\n}\nf()", ["f 2:9", "4:1"]),
        ("await 0;\n\n   throw new RangeError('e')", ["3:10"]),
        ("const o = { m() { throw new Error('e') } };\no.m()", ["m 1:25", "2:3"]),
        ("class A { static s() { throw new Error('e') } }\nA.s()", ["s 1:30", "2:3"]),
        ("[1].map((x) => { throw new Error('e') })", ["1:24", "1:5"]),
        ("async function a() { await 0; throw new Error('e') }\nasync function b() { await a() }\nawait b()",
         ["a 1:37", "async b 2:28", "3:7"]),
        ("class Mine extends Error { constructor(m) { super(m) } }\nthrow new Mine('e')", ["2:7"]),
        ("class Mine extends TypeError {}\nclass Deep extends Mine {}\nthrow new Deep('e')", ["3:7"]),
        ("\ufefflet é = '€😀'; throw new Error(é)", ["1:23"]),
    ],
)  # fmt: skip
def test_positions_are_the_callers_own(run: Any, source: str, frames: list[str]) -> None:
    def line(frame: str) -> str:
        name, _, position = frame.rpartition(" ")
        if name in ("", "async"):
            return f"    at {name + ' ' if name else ''}{FILE}:{position}"
        return f"    at {name} ({FILE}:{position})"

    assert run(source).error.split("\n")[1:] == [line(frame) for frame in frames]


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("throw 1", "1"), ("throw null", "null"), ("throw undefined", "undefined"), ("throw 'text'", "text"),
        ("throw ''", ""), ("throw {}", "[object Object]"), ("throw [1, 2]", "1,2"), ("throw 10n", "10"),
        ("throw Symbol('x')", ""), ("throw Object.create(null)", ""), ("throw { toString() { throw 1 } }", ""),
        ("throw () => 1", "() => 1"), ("throw { toString() { return 'own' } }", "own"), ("throw '\\ud800x'", "\ufffdx"),
        ("throw { stack: 'own stack' }", "own stack"), ("throw { stack: 5 }", "[object Object]"),
        ("throw { get stack() { throw 1 } }", "[object Object]"), ("throw { name: 'N', message: 'm' }", "[object Object]"),
        ("const e = new Error('m'); e.stack = 'own'; throw e", "own"),
        ("const e = new Error('m'); e.stack = undefined; throw e", "Error: m"),
        ("throw Object.assign(new Error('m'), { name: 'Custom' })", f"Custom: m\n    at {FILE}:1:21"),
        ("throw new Error('')", f"Error\n    at {FILE}:1:7"),
        ("throw new Error('two\\nlines')", f"Error: two\nlines\n    at {FILE}:1:7"),
        ("throw new Error('\\ud800')", f"Error: \ufffd\n    at {FILE}:1:7"),
        ("throw new AggregateError([1], 'all')", f"AggregateError: all\n    at {FILE}:1:7"),
        ("throw new (class extends Error { name = 'Field' })('m')", f"Field: m\n    at {FILE}:1:7"),
        ("const e = new Error('m'); e.name = ''; throw e", f"m\n    at {FILE}:1:11"),
    ],
)  # fmt: skip
def test_what_is_thrown_is_reported_as_the_reference_does(run: Any, source: str, error: str) -> None:
    assert run(source).error == error


def test_a_stack_names_ten_frames_of_the_script_alone(run: Any) -> None:
    ran = run(
        "function down(n) { if (n) down(n - 1); else throw new Error('deep') }\nfunction top() { down(50) }\ntop()"
    )
    header, *frames = ran.error.split("\n")
    assert header == "Error: deep"
    assert len(frames) == 10
    assert all(frame.startswith(f"    at down ({FILE}:1:") for frame in frames)


def test_a_script_sees_the_same_stack(run: Any) -> None:
    ran = run(
        "function f() { return new Error('m').stack }\ntext(f());"
        " const o = {}; Error.captureStackTrace(o); text(typeof o.stack);"
        " function G() { Error.captureStackTrace(this, G) } text(new G().stack);"
    )
    assert ran.items[0] == f"Error: m\n    at f ({FILE}:1:23)\n    at {FILE}:2:6"
    assert ran.items[1] == "string"
    assert ran.items[2].split("\n")[1:] == [f"    at {FILE}:2:131"]


def test_evaluated_code_is_the_scripts_own(run: Any) -> None:
    ran = run("function f() { eval('\\n  throw new Error(1)') }\nf()")
    assert ran.error.split("\n")[1:] == [
        f"    at eval (eval at {FILE}:1, <anonymous>:2:9)", f"    at f ({FILE}:1:16)", f"    at {FILE}:2:1"
    ]  # fmt: skip


def test_running_out_of_stack_is_a_range_error(run: Any) -> None:
    ran = run(
        "function r() { r() } try { r() } catch (e) { text([e.name, e.constructor === RangeError, e instanceof RangeError,"
        " typeof InternalError]) } r()"
    )
    assert ran.items == ['["RangeError",true,true,"undefined"]']
    assert ran.error.startswith("RangeError: ")


# Imports


def test_helper_modules_export_the_globals(run: Any) -> None:
    ran = run(
        'import { text as say, tools as t } from "@openai/code_mode"; import { tools as u, ALL_TOOLS as all } from "tools.js";'
        ' import * as mode from "@openai/code_mode"; say([t === tools, u === tools, all === ALL_TOOLS, say === text]);'
        " text(Object.keys(mode)); text(await u.echo({ n: 1 }));"
    )
    assert ran.error is None
    exports = (
        '["ALL_TOOLS","as_settled","audio","clearTimeout","content","exit","generatedImage","image","load","notify",'
        '"setTimeout","store","stream_settled","text","tools","yield_control"]'
    )
    assert ran.items == ["[true,true,true,true]", exports, '{"n":1}']


def test_an_export_that_a_helper_module_does_not_have_is_named(run: Any) -> None:
    error = run('import { nothing } from "tools.js"').error
    assert error.startswith("SyntaxError: ")
    assert "tools.js" in error
    assert "nothing" in error


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("text('not run'); import 'fs'", "fs"), ("import x from './x.mjs'", "./x.mjs"), ("export * from 'zzz'", "zzz"),
        ("import ''", ""), ("import 'tools'", "tools"), ("import '@openai/code_mode/x'", "@openai/code_mode/x"),
        ("import { text } from '@openai/code_mode'; import 'ünï'", "ünï"), ("import 'one'; import 'two'", "one"),
    ],
)  # fmt: skip
def test_any_other_import_fails_with_the_references_message(run: Any, source: str, name: str) -> None:
    ran = run(source)
    assert ran.error == f"Unsupported import in exec: {name}"
    assert ran.items == []


@pytest.mark.parametrize("name", ["fs", "tools.js", "@openai/code_mode", FILE])
def test_a_dynamic_import_is_rejected_with_a_string(run: Any, name: str) -> None:
    ran = run(
        f"const p = import('{name}'); text(p instanceof Promise);"
        f" try {{ await p }} catch (e) {{ text(e) }}"
        f" await eval('import(\"{name}\")').catch(text); await new Function('return import(\"{name}\")')().catch(text);"
    )
    assert ran.items == ["true"] + ["unsupported import in exec"] * 3
    assert run(f"await import('{name}')").error == "unsupported import in exec"


# The end


def test_jobs_that_are_queued_when_the_module_ends_still_run(run: Any) -> None:
    ran = run("(async () => { for (let i = 0; i < 5000; i++) await 0; text('late') })()")
    assert (ran.items, ran.error) == (["late"], None)


def test_a_rejection_that_nobody_handles_concerns_nobody(run: Any) -> None:
    ran = run(
        "Promise.reject(new Error()); Promise.reject(Symbol()); Promise.reject(new Date(NaN)); await 0; text('on')"
    )
    assert (ran.items, ran.error) == (["on"], None)


def test_a_script_that_waits_for_nothing_waits(run: Any) -> None:
    assert run("text('before'); await new Promise(() => {}); text('after')").pending


def test_timers_do_not_keep_a_script_alive(run: Any) -> None:
    ran = run("setTimeout(() => text('never'), 0)")
    assert (ran.items, ran.error) == ([], None)


@pytest.mark.parametrize(
    "source",
    [
        "try { exit() } finally { text('no') }",
        "try { exit() } catch { text('no') } text('no')",
        "await (async () => { await 0; exit() })(); text('no')",
        "Promise.resolve().then(exit); await 0; await 0; text('no')",
        "[2, 1].sort(() => exit()); text('no')",
        "JSON.stringify({ toJSON() { exit() } }); text('no')",
        "text({ toJSON() { exit() } }); text('no')",
        "tools.echo({ toJSON() { exit() } }); text('no')",
        "new (class { constructor() { exit() } })(); text('no')",
        "setTimeout(() => { exit(); text('no') }, 1); await new Promise(() => {})",
        "await tools.echo(1); exit(); text('no')",
        "throw { get stack() { exit() } }",
        "exit('with', 'arguments'); text('no')",
    ],
)
def test_exit_ends_at_once_from_anywhere_and_keeps_what_there_is(run: Any, source: str) -> None:
    ran = run("text('yes'); store('kept', [1]); notify('sent');" + source)
    assert (ran.error, ran.items, ran.stored, ran.notes("notify")) == (None, ["yes"], {"kept": [1]}, ["sent"])


MEMORY = 48 << 20


@pytest.mark.parametrize(
    "source",
    [
        "const a = []; while (true) a.push(new Array(1000).fill(1.5))",
        "const a = []; while (true) a.push(new Uint8Array(1e6))",
        "await tools.echo('x'.repeat(9e7))",
        "store('k', 'x'.repeat(2e7)); throw 1",
    ],
)
def test_a_script_that_runs_out_of_memory_never_ends_well(run: Any, source: str) -> None:
    ran = run("text('before');" + source, memory_limit=MEMORY)
    assert ran.error == "out of memory"
    assert ran.items == ["before"]


def test_a_script_that_catches_it_goes_on(run: Any) -> None:
    ran = run(
        "const a = []; try { while (true) a.push(new Array(1000).fill(1.5)) } catch (e) { a.length = 0; text(e) }"
        " text(await tools.echo('on'))",
        memory_limit=MEMORY,
    )
    assert (ran.error, ran.items) == (None, ["out of memory", "on"])


def test_what_cannot_be_copied_ends_the_process_with_a_status_of_its_own(run: Any) -> None:
    ran = run("notify('x'.repeat(3e7)); text('no')", memory_limit=MEMORY)
    assert ran.died == EXIT_OUT_OF_MEMORY


def test_a_call_that_cannot_be_put_into_one_string_ends_the_process_with_that_status_too(run: Any) -> None:
    # Calls hold on to what they leave behind in PythonMonkey, until a small string finds no room any more.
    ran = run("for (let i = 0; ; i++) tools.echo('x'.repeat(20) + i)", memory_limit=MEMORY)
    assert ran.died == EXIT_OUT_OF_MEMORY


def test_a_prepared_process_is_as_good_as_new(run: Any) -> None:
    ran = run(
        "text(await tools.echo(1)); text([load('warm'), ALL_TOOLS.length, typeof tools.warm, setTimeout(() => {})]);",
        prepare=True,
    )
    assert ran.items == ["1", '[null,2,"undefined",1]']
    assert ran.events == [["call", "1 0 1"], ["timer", "1 0"]]


def test_the_first_of_two_failures_is_the_one_that_is_told(run: Any) -> None:
    source = "let go; setTimeout(() => { go(); throw 'first' }, 1); await new Promise((resolve) => { go = resolve });"
    assert run(f"{source} throw 'second'").error == "first"


def test_a_script_that_exits_has_no_failure_whatever_was_thrown_before(run: Any) -> None:
    source = "let go; setTimeout(() => { go(); throw 'first' }, 1); await new Promise((resolve) => { go = resolve });"
    assert run(f"{source} exit()").error is None
