"""What the text of a failed cell is: thrown values of every kind, syntax errors, frames, errors from timers and jobs."""

# ruff: noqa: E501 (a script, or the steps of a conversation, read best in one line)

from __future__ import annotations

from tests.interop.differential.cases import Tool, cell

THROWN = {
    "string": "'str'",
    "empty-string": "''",
    "number": "5",
    "null": "null",
    "undefined": "undefined",
    "boolean": "false",
    "bigint": "10n",
    "symbol": "Symbol('s')",
    "object": "({})",
    "object-with-message": "({message: 'm'})",
    "object-with-to-string": "({toString() { return 'ts'; }})",
    "object-without-prototype": "Object.create(null)",
    "object-with-stack": "({stack: 'made up', name: 'N', message: 'm'})",
    "object-with-number-stack": "({stack: 5})",
    "array": "[1, 2]",
    "empty-array": "[]",
    "arrow": "()=>1",
    "invalid-date": "new Date(NaN)",
    "string-object": "new String('boxed')",
}

CLASSES = ("Error", "TypeError", "RangeError", "SyntaxError", "ReferenceError", "EvalError", "URIError")

FAILING = {
    "null-property": "null.x",
    "undefined-call": "undefined.foo()",
    "unknown-name": "unknownName",
    "not-a-function": "const q = 1; q()",
    "constant-assignment": "const c = 1; c = 2",
    "temporal-dead-zone": "early; let early",
    "not-a-constructor": "new 5",
    "invalid-array-length": "new Array(-1)",
    "invalid-repeat": "'x'.repeat(-1)",
    "invalid-digits": "(1).toFixed(101)",
    "not-iterable": "for (const x of 5);",
    "destructure-undefined": "const {a} = undefined",
    "bad-json": "JSON.parse('{bad')",
    "bigint-mix": "1n + 1",
    "bigint-from-fraction": "BigInt(1.5)",
    "private-member": "class A { #p; static t(o) { return o.#p; } } A.t({})",
    "undeclared-assignment": "undeclared = 5",
    "frozen-assignment": "Object.freeze([1])[0] = 2",
    "read-only-undefined": "undefined = 1",
    "bad-uri": "decodeURIComponent('%')",
    "bad-date": "new Date(NaN).toISOString()",
    "symbol-to-string": "`${Symbol('s')}`",
    "bad-locale": "new Intl.NumberFormat('xx-invalid-locale-zzzzzzzzzzzz')",
    "bad-regexp": "new RegExp('(')",
    "bad-eval": "eval('foo(')",
    "arguments-at-top-level": "arguments",
    "this-property": "this.x",
    "extends-null-call": "class A extends null {} new A()",
    "super-twice": "class B {} class A extends B { constructor() { super(); super(); } } new A()",
    "missing-super": "class B {} class A extends B { constructor() { } } new A()",
    "in-operator": "'a' in 'b'",
    "instanceof": "1 instanceof 2",
}

SYNTAX = {
    "return": "return 1",
    "unclosed": "text(1",
    "stray-brace": "}",
    "await-alone": "await",
    "duplicate-let": "var a; let a",
    "reserved-word": "let let = 1",
    "with": "with ({}) {}",
    "delete-name": "delete x",
    "octal": "0777",
    "octal-escape": r"'\07'",
    "html-comment": "<!-- comment\ntext(1)",
    "html-close-comment": "text(1)\n--> c",
    "new-target": "new.target",
    "super": "super.x",
    "yield-outside": "yield 1",
    "undefined-label": "for (;;) { break nowhere; }",
    "bad-regexp-literal": "/(/",
    "unterminated-string": "'abc",
    "duplicate-export": "export const a = 1; export {a};",
    "undeclared-export": "export {nothing};",
    "private-undeclared": "({}).#x",
    "await-in-function": "function f() { await 1; }",
    "arrow-newline": "(a)\n=> 1",
    "closes-a-wrapper": "})(); text('escaped'); (async () => {",
    "closes-a-wrapper-block": "}} text('escaped'); {{",
}

FRAMES = {
    "top-level": "throw new Error('x')",
    "second-line": "\n\n  throw new Error('x')",
    "function": "function f() { throw new Error('deep'); }\nf()",
    "arrow": "const f = () => { throw new Error('x'); };\n\nf()",
    "after-await": "await null;\nthrow new Error('later')",
    "after-a-tool-call": "await tools.echo(1);\nthrow new Error('later')",
    "in-a-callback": "[1].map(x => { throw new Error('x'); })",
    "timer": "setTimeout(() => {\n  throw new Error('timer');\n}, 1);\nawait new Promise(() => {})",
    "constructor": "class A { constructor() { throw new Error('x'); } }\nnew A()",
    "method": "const o = { m() { throw new Error('x'); } };\no.m()",
    "getter": "const o = { get g() { throw new Error('x'); } };\no.g",
    "rejection": "await Promise.reject(new Error('x'))",
    "rejection-made-earlier": "const e = new Error('x');\n\nawait Promise.reject(e)",
    "subclass": "class E extends Error {}\nthrow new E('x')",
    "wide-characters-before": "const s = '😀é'; throw new Error('x')",
    "tabs-before": "\t\tthrow new Error('x')",
    "carriage-returns": "const a = 1;\r\nthrow new Error('x')",
    "line-separator": "const a = 1;\u2028throw new Error('x')",
    "hashbang": "#!/usr/bin/env node\nthrow new Error('x')",
    "async-function": "async function f() { throw new Error('x'); }\nawait f()",
    "generator": "function* g() { throw new Error('x'); }\n[...g()]",
    "rethrown": "try {\n  throw new Error('first');\n} catch (e) {\n  throw e;\n}",
    "finally": "try {\n  throw new Error('first');\n} finally {\n  await null;\n}",
}

CASES = (
    *(cell(f"throw-{name}", f"throw {value}") for name, value in THROWN.items()),
    *(cell(f"reject-{name}", f"await Promise.reject({value})") for name, value in list(THROWN.items())[:6]),
    *(cell(f"class-{name}", f"throw new {name}('message')", error="frame") for name in CLASSES),
    cell("no-message", "throw new Error()"),
    cell("multi-line-message", "throw new Error('one\\ntwo')"),
    cell("name-changed", "const e = new Error('x'); e.name = 'Renamed'; throw e"),
    cell(
        "named-subclass",
        "class E extends Error { constructor(m) { super(m); this.name = 'CustomError'; } } throw new E('x')",
    ),
    cell("stack-replaced", "const e = new Error('x'); e.stack = 'my own stack'; throw e", error="text"),
    cell("stack-emptied", "const e = new Error('x'); e.stack = ''; throw e", error="text"),
    cell(
        "stack-forged",
        "const e = new Error('x'); e.stack = 'Error: x\\n    at evil (file:///a:1:1)'; throw e",
        error="text",
    ),
    cell("stack-is-a-number", "const e = new Error('x'); e.stack = 5; throw e"),
    cell("aggregate", "throw new AggregateError([new Error('a')], 'agg')"),
    cell("promise-any", "await Promise.any([Promise.reject(1)])"),
    cell("with-cause", "throw new Error('x', {cause: new Error('y')})"),
    *(cell(f"failing-{name}", source) for name, source in FAILING.items()),
    *(
        cell(f"caught-{name}", f"try {{ (0, eval)({source!r}) }} catch (e) {{ text([e.name, e instanceof Error]) }}")
        for name, source in FAILING.items()
        if "const " not in source and "class " not in source and "let " not in source and "`" not in source
    ),
    *(
        cell(f"syntax-{name}", f"text('before');\n{source}")
        for name, source in SYNTAX.items()
        if name != "html-comment"
    ),
    cell("syntax-html-comment", SYNTAX["html-comment"]),
    *(cell(f"frame-{name}", source, tools=(Tool("echo"),), error="frame") for name, source in FRAMES.items()),
    cell("stack-overflow", "function down() { down(); } try { down(); } catch (e) { text(e instanceof Error); }"),
    cell("output-before-an-error-is-kept", "text('kept'); throw new Error('x')"),
    cell("unhandled-rejection-is-nothing", "Promise.reject(new Error('unhandled')); text('fine')"),
    cell("unhandled-rejection-later", "Promise.reject(1); await new Promise(r => setTimeout(r, 5)); text('fine')"),
    cell("error-in-a-job-is-nothing", "Promise.resolve().then(() => { throw new Error('x'); }); text('fine')"),
    cell(
        "async-timer-rejection-is-nothing",
        "setTimeout(async () => { throw 1; }, 1); await new Promise(r => setTimeout(r, 10)); text('fine')",
    ),
    cell("timer-string", "setTimeout(() => { throw 'timer'; }, 1); await new Promise(() => {})"),
    cell(
        "timer-error-while-awaiting",
        "setTimeout(() => { throw 'timer'; }, 1); await new Promise(r => setTimeout(r, 50)); text('never')",
    ),
    cell("timer-error-after-the-end", "setTimeout(() => { throw 'timer'; }, 0); text('end')"),
)
