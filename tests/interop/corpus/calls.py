"""Tools: names, inputs, results, errors, many at once, calls that nobody waits for."""

# ruff: noqa: E501 (a script, or the steps of a conversation, read best in one line)

from __future__ import annotations

from tests.interop.corpus.helpers import caught, first_line
from tests.interop.differential.cases import CellCase, Failure, Reply, Tool, Value, cell

ECHO = Tool("echo")

NAMES = (
    "plain", "a-b", "a.b", "a b", "1x", "", "$x", "_", "a__b", "ünï", "日本", "😀", "class", "await", "then", "constructor",
    "toString", "mcp__x-y/z", "-", "--", "9", "a\n", "A-B.c/d:e", "x\u200d", "prototype", "length",
)  # fmt: skip

INPUTS = {
    "none": "",
    "undefined": "undefined",
    "null": "null",
    "number": "1.5",
    "negative-zero": "-0",
    "big": "2 ** 53 + 2",
    "exponent": "[1e21, 1e-7, 1e300]",
    "nan": "NaN",
    "string": "'s'",
    "unicode": r"'\u2028\u0000😀'",
    "object": "({b: 1, a: [null, {c: true}]})",
    "integer-keys": "({z: 1, 2: 0, 1: 0})",
    "dropped-members": "({a: undefined, b: () => 1, c: [undefined]})",
    "date": "new Date(0)",
    "to-json": "({toJSON() { return 'tj'; }})",
    "second-argument": "1, 2",
    "boxed": "new Number(5)",
    "map": "new Map([[1, 2]])",
}

RESULTS = {
    "null": None,
    "true": True,
    "number": 1.5,
    "string": "s",
    "empty": "",
    "object": {"b": 1, "a": [None, {"c": "ü"}]},
    "nested": [[[[[[[[1]]]]]]]],
    "integer-keys": {"z": 1, "2": 0, "1": 0},
    "proto": {"__proto__": 5, "a": 1},
    "large-integer": 9007199254740993,
    "larger-integer": 18446744073709551615,
    "separators": "\u2028\u2029\u0000",
}


def named(name: str, number: int) -> CellCase:
    """A case that calls the only tool by the name that JavaScript was told."""
    source = "text(ALL_TOOLS); text(Object.keys(tools)); const {name} = ALL_TOOLS[0]; text(await tools[name](1))"
    return cell(f"name-{number}-{name!a}", source, tools=(Tool(name, "canonical", "space"),))


CASES = (
    *(named(name, number) for number, name in enumerate(NAMES)),
    *(cell(f"input-{name}", f"text(await tools.echo({value}))", tools=(ECHO,)) for name, value in INPUTS.items()),
    *(
        cell(
            f"result-{name}",
            "const r = await tools.t(); text(r); text(JSON.stringify([r]))",
            tools=(Tool("t"),),
            answers={"t": Value(value)},
        )
        for name, value in RESULTS.items()
    ),
    cell("input-function", caught("tools.echo(() => 1)"), tools=(ECHO,)),
    cell("input-symbol", caught("tools.echo(Symbol('x'))"), tools=(ECHO,)),
    cell("input-bigint", first_line("tools.echo(1n)"), tools=(ECHO,)),
    cell("input-circular", "const a = {}; a.a = a; " + first_line("tools.echo(a)"), tools=(ECHO,)),
    cell("input-throwing-to-json", caught("tools.echo({toJSON() { throw 7; }})"), tools=(ECHO,)),
    cell(
        "input-lone-surrogate",
        "try { await tools.echo('\\ud800'); text('sent'); } catch (e) { text(typeof e); }",
        tools=(ECHO,),
    ),
    cell("canonical-name", "await tools.short(1)", tools=(Tool("short", "The.Long name", "mcp"),)),
    cell("freeform", "await tools.patch('raw text')", tools=(Tool("patch", kind="freeform"),)),
    cell("no-tools", "text(ALL_TOOLS); text(Object.keys(tools))"),
    cell(
        "description",
        "text(ALL_TOOLS)",
        tools=(Tool("a", description='Line one\nline "two" ü'), Tool("b", description="")),
    ),
    cell(
        "order-of-tools",
        "text(Object.keys(tools)); text(ALL_TOOLS.map(t => t.name))",
        tools=(Tool("zed"), Tool("alpha"), Tool("mid")),
    ),
    cell("unknown-tool", "text(typeof tools.nope); tools.nope()", tools=(ECHO,)),
    cell("unknown-tool-no-tools", "tools.nope()"),
    cell(
        "is-a-promise",
        "const p = tools.echo(1); text([p instanceof Promise, Object.prototype.toString.call(p)]); await p",
        tools=(ECHO,),
    ),
    cell(
        "detached",
        "const {echo} = tools; text(await echo(1)); text(await Reflect.apply(echo, null, [2]))",
        tools=(ECHO,),
    ),
    cell("function-shape", "text([typeof tools.echo, tools.echo.name, tools.echo.length])", tools=(ECHO,)),
    cell(
        "tools-can-be-changed",
        "tools.mine = () => 'mine'; delete tools.echo; text([tools.mine(), typeof tools.echo])",
        tools=(ECHO,),
    ),
    cell(
        "all-tools-can-be-changed",
        "ALL_TOOLS.push({name: 'x'}); ALL_TOOLS[0].name = 'y'; text(ALL_TOOLS)",
        tools=(ECHO,),
    ),
    cell(
        "shape-of-tools",
        "text([Object.isFrozen(tools), Object.getPrototypeOf(tools) === Object.prototype, Array.isArray(ALL_TOOLS), Object.isFrozen(ALL_TOOLS)])",
        tools=(ECHO,),
    ),
    cell("error", "await tools.t()", tools=(Tool("t"),), answers={"t": Failure("it broke")}, error="text"),
    cell("error-empty", "await tools.t()", tools=(Tool("t"),), answers={"t": Failure("")}, error="text"),
    cell(
        "error-looks-like-one",
        "await tools.t()",
        tools=(Tool("t"),),
        answers={"t": Failure("TypeError: not really\n    at x")},
        error="text",
    ),
    cell(
        "error-caught",
        "try { await tools.t(); } catch (e) { text([typeof e, e]); }",
        tools=(Tool("t"),),
        answers={"t": Failure("it broke ü\n☃")},
    ),
    cell(
        "error-then-fine",
        "await tools.t().catch(e => text(e)); text(await tools.t())",
        tools=(Tool("t"),),
        answers={"t": (Failure("first"), Value("second"))},
    ),
    cell(
        "wrong-kind-of-answer",
        "await tools.t().catch(e => text([typeof e, e]))",
        tools=(Tool("t"),),
        answers={"t": Reply.WRONG_KIND},
    ),
    cell("parallel", "text(await Promise.all([1, 2, 3, 4, 5].map(n => tools.echo(n))))", tools=(ECHO,)),
    cell(
        "parallel-two-tools",
        "text(await Promise.all([tools.a(1), tools.b(2), tools.a(3)]))",
        tools=(Tool("a"), Tool("b")),
    ),
    cell(
        "parallel-one-fails",
        "const r = await Promise.allSettled([tools.a(1), tools.b(2)]); text(r)",
        tools=(Tool("a"), Tool("b")),
        answers={"b": Failure("no")},
    ),
    cell(
        "all-rejects-at-once",
        "await Promise.all([tools.a(1), tools.b(2)])",
        tools=(Tool("a"), Tool("b")),
        answers={"a": Reply.SILENT, "b": Failure("no")},
        error="text",
    ),
    cell(
        "race",
        "text(await Promise.race([tools.a(1), tools.b(2)]))",
        tools=(Tool("a"), Tool("b")),
        answers={"a": Reply.SILENT},
    ),
    cell("sequence", "let n = 0; for (let i = 0; i < 20; i++) n = await tools.echo(n + 1); text(n)", tools=(ECHO,)),
    cell(
        "hundred-at-once",
        "const r = await Promise.all(Array.from({length: 100}, (_, i) => tools.echo(i))); text(r.reduce((a, b) => a + b))",
        tools=(ECHO,),
    ),
    cell(
        "from-a-timer",
        "await new Promise(r => setTimeout(async () => { text(await tools.echo('t')); r(); }, 1))",
        tools=(ECHO,),
    ),
    cell("in-a-chain", "await tools.echo(1).then(x => tools.echo(x + 1)).then(x => text(x))", tools=(ECHO,)),
    cell("unanswered-at-the-end", "tools.t(1); text('end')", tools=(Tool("t"),), answers={"t": Reply.SILENT}),
    cell("unanswered-at-an-error", "tools.t(1); throw 'x'", tools=(Tool("t"),), answers={"t": Reply.SILENT}),
    cell("unanswered-at-exit", "tools.t(1); exit()", tools=(Tool("t"),), answers={"t": Reply.SILENT}),
    cell("three-unanswered", "tools.t(1); tools.t(2); tools.t(3)", tools=(Tool("t"),), answers={"t": Reply.SILENT}),
    cell(
        "unanswered-and-a-notification",
        "tools.t(1); notify('n'); text('end')",
        tools=(Tool("t"),),
        answers={"t": Reply.SILENT},
    ),
    cell(
        "numbers-go-on-over-tools",
        "await tools.a(); await tools.b(); await tools.a()",
        "await tools.a()",
        tools=(Tool("a"), Tool("b")),
    ),
    cell(
        "result-is-a-fresh-object",
        "const r = await tools.t(); r.x = 1; text((await tools.t()).x)",
        tools=(Tool("t"),),
        answers={"t": Value({})},
    ),
    cell("large-input-and-result", "text((await tools.echo('x'.repeat(2000000))).length)", tools=(ECHO,)),
    cell("thenable-result-is-data", "text(await tools.t())", tools=(Tool("t"),), answers={"t": Value({"then": 5})}),
    cell(
        "patched-promise",
        "Promise.prototype.then = null; Promise.resolve = null; text(await tools.echo(1))",
        tools=(ECHO,),
    ),
    cell(
        "patched-json",
        "JSON.stringify = () => 'forged'; JSON.parse = () => 'forged'; text(await tools.echo({a: 1})); text({b: 2})",
        tools=(ECHO,),
    ),
    cell(
        "patched-object-prototype",
        "Object.defineProperty(Object.prototype, 'get', {value: 1}); Object.prototype.value = 2; text(await tools.echo({a: 1}))",
        tools=(ECHO,),
    ),
)
