"""The helpers: text, image, store and load, notify, timers' arguments, exit; what they take and what they throw.

Whatever a helper throws is the host's own wording, so it is compared in full: scripts show it with `text(String(e))`.
"""

# ruff: noqa: E501 (a script, or the steps of a conversation, read best in one line)

from __future__ import annotations

from tests.interop.differential.cases import cell

PNG = "data:image/png;base64,aa"


def caught(expression: str) -> str:
    """A script that shows what an expression gives, or what kind of thing it throws."""
    return f"try {{ text('gives ' + String({expression})); }} catch (e) {{ text('throws ' + typeof e + ' ' + String(e)); }}"


def first_line(expression: str) -> str:
    """The same, where a stack follows what is thrown: the engine's own name alone."""
    return (
        f"try {{ text('gives ' + String({expression})); }}"
        " catch (e) { text('throws ' + typeof e + ' ' + String(e).split(':')[0]); }"
    )


IMAGES = {
    "url": f"'{PNG}'",
    "upper-case-url": "'DATA:image/png;base64,aa'",
    "bare-data": "'data:'",
    "other-type": "'data:text/plain,hi'",
    "http": "'http://example.org/a.png'",
    "https": "'https://example.org/a.png'",
    "upper-case-https": "'HTTPS://example.org/a.png'",
    "file": "'file:///a.png'",
    "word": "'word'",
    "blank": "' '",
    "leading-space": f"' {PNG}'",
    "empty": "''",
    "number": "5",
    "null": "null",
    "undefined": "undefined",
    "boolean": "true",
    "array": "[]",
    "array-of-url": f"['{PNG}']",
    "function": "() => 1",
    "empty-object": "({})",
    "string-object": f"new String('{PNG}')",
    "object": f"({{image_url: '{PNG}'}})",
    "object-number": "({image_url: 5})",
    "object-empty": "({image_url: ''})",
    "object-null": "({image_url: null})",
    "object-http": "({image_url: 'http://example.org/a.png'})",
    "object-detail": f"({{image_url: '{PNG}', detail: 'low'}})",
    "object-detail-null": f"({{image_url: '{PNG}', detail: null}})",
    "object-detail-undefined": f"({{image_url: '{PNG}', detail: undefined}})",
    "object-detail-number": f"({{image_url: '{PNG}', detail: 5}})",
    "object-detail-upper": f"({{image_url: '{PNG}', detail: 'ORIGINAL'}})",
    "object-detail-bad": f"({{image_url: '{PNG}', detail: 'medium'}})",
    "object-detail-spaces": f"({{image_url: '{PNG}', detail: ' low '}})",
    "object-with-getter": f"({{get image_url() {{ return '{PNG}'; }}}})",
    "block": "({type: 'image', data: 'aa', mimeType: 'image/png'})",
    "block-snake-case": "({type: 'image', data: 'aa', mime_type: 'image/gif'})",
    "block-without-type-of-data": "({type: 'image', data: 'aa'})",
    "block-empty-mime": "({type: 'image', data: 'aa', mimeType: ''})",
    "block-without-data": "({type: 'image', mimeType: 'image/png'})",
    "block-empty-data": "({type: 'image', data: '', mimeType: 'image/png'})",
    "block-number-data": "({type: 'image', data: 5, mimeType: 'image/png'})",
    "block-data-url": "({type: 'image', data: 'data:image/png;base64,zz', mimeType: 'image/gif'})",
    "block-meta": "({type: 'image', data: 'aa', mimeType: 'image/png', _meta: {'codex/imageDetail': 'low'}})",
    "block-meta-bad": "({type: 'image', data: 'aa', mimeType: 'image/png', _meta: {'codex/imageDetail': 'zzz'}})",
    "block-meta-null": "({type: 'image', data: 'aa', mimeType: 'image/png', _meta: null})",
    "block-detail-is-ignored": "({type: 'image', data: 'aa', mimeType: 'image/png', detail: 'low'})",
    "audio-block": "({type: 'audio', data: 'aa', mimeType: 'audio/wav'})",
    "text-block": "({type: 'text', text: 'x'})",
    "tool-result": "({content: [{type: 'image', data: 'aa', mimeType: 'image/png'}]})",
}

DETAILS = {
    "auto": "'auto'",
    "original": "'original'",
    "upper-case": "'LOW'",
    "null": "null",
    "undefined": "undefined",
    "empty": "''",
    "unknown": "'x'",
    "spaces": "' low'",
    "number": "5",
    "object": "({})",
    "boolean": "true",
}

STORED = {
    "string": "'s'",
    "number": "1.5",
    "zero-sign": "-0",
    "null": "null",
    "nan": "NaN",
    "big": "2 ** 53 + 2",
    "huge": "1e21",
    "object": "({a: [1, {b: null}], c: 'x'})",
    "dropped-members": "({a: undefined, b: () => 1, c: [undefined]})",
    "date": "new Date(0)",
    "map": "new Map([[1, 2]])",
    "to-json": "({toJSON() { return 5; }})",
    "proto-key": "JSON.parse('{\"__proto__\": 5}')",
    "integer-keys": "({b: 1, 2: 1, a: 1, 1: 1})",
    "unicode": r"'\u2028\u0000😀'",
}

NOT_STORED = {
    "undefined": "undefined",
    "function": "() => 1",
    "symbol": "Symbol('x')",
    "to-json-undefined": "({toJSON() { return undefined; }})",
}

KEYS = {
    "number": "1",
    "null": "null",
    "undefined": "undefined",
    "empty": "''",
    "proto": "'__proto__'",
    "constructor": "'constructor'",
    "object": "({})",
    "array": "[1, 2]",
    "unicode": "'ü ☃ \\u0000'",
    "symbol": "Symbol('k')",
}

CASES = (
    *(cell(f"image-{name}", caught(f"image({value})")) for name, value in IMAGES.items()),
    *(cell(f"image-detail-{name}", caught(f"image('{PNG}', {value})")) for name, value in DETAILS.items()),
    cell("image-detail-over-the-object", f"image({{image_url: '{PNG}', detail: 'low'}}, 'auto')"),
    cell("image-bad-detail-over-the-object", caught(f"image({{image_url: '{PNG}', detail: 'low'}}, 'x')")),
    cell(
        "image-detail-over-the-block",
        "image({type: 'image', data: 'aa', mimeType: 'image/png', _meta: {'codex/imageDetail': 'low'}}, 'auto')",
    ),
    cell("image-null-detail-keeps-the-object's", f"image({{image_url: '{PNG}', detail: 'low'}}, null)"),
    cell("image-uncaught", "image('http://example.org/x')", error="text"),
    *(
        cell(
            f"store-{name}", f"store('k', {value}); text(JSON.stringify(load('k')))", "text(JSON.stringify(load('k')))"
        )
        for name, value in STORED.items()
    ),
    *(
        cell(f"store-refuses-{name}", caught(f"store('key', {value})"), "text(String(load('key')))")
        for name, value in NOT_STORED.items()
    ),
    cell("store-refuses-bigint", first_line("store('k', 1n)")),
    cell("store-refuses-circular", "const a = {}; a.a = a; " + first_line("store('k', a)")),
    cell("store-throwing-to-json", first_line("store('k', {toJSON() { throw new Error('tj'); }})")),
    cell("store-lone-surrogate", "try { store('k', '\\ud800'); text('stored'); } catch (e) { text(typeof e); }"),
    *(
        cell(f"key-{name}", caught(f"(store({value}, 7), load({value}))"), caught(f"load({value})"))
        for name, value in KEYS.items()
    ),
    cell("key-number-is-its-string", "store(1, 'one'); text(load('1'))"),
    cell("store-without-arguments", caught("store()")),
    cell("store-without-value", caught("store('a')")),
    cell("load-missing", "text([load('missing'), load('toString'), load()].map(String))"),
    cell("load-is-a-fresh-copy", "store('k', {a: 1}); load('k').a = 2; text([load('k').a, load('k') === load('k')])"),
    cell("store-copies", "const o = {a: 1}; store('k', o); o.a = 2; text(load('k').a)"),
    cell(
        "store-overwrites",
        "store('k', 1); store('k', 2); text(load('k'))",
        "text(load('k')); store('k', 3); text(load('k'))",
    ),
    cell("stored-by-a-failed-cell", "store('k', 1); throw 'failed'", "text(load('k'))"),
    cell("stored-by-an-exited-cell", "store('k', 1); exit()", "text(load('k'))"),
    cell("stored-after-the-end", "Promise.resolve().then(() => store('k', 1))", "text(load('k'))"),
    cell(
        "stored-in-a-failing-timer",
        "setTimeout(() => { store('k', 1); throw 'x'; }, 1); await new Promise(() => {})",
        "text(load('k'))",
    ),
    cell("not-stored-by-a-syntax-error", "store('k', 1); return", "text(String(load('k')))"),
    cell(
        "many-keys",
        "for (let i = 0; i < 500; i++) store('k' + i, {i})",
        "let n = 0; for (let i = 0; i < 500; i++) n += load('k' + i).i; text(n)",
    ),
    cell("store-large", "store('k', 'x'.repeat(1000000))", "text(load('k').length)"),
    cell(
        "notify-values",
        "for (const v of [1, true, {a: 1}, [1], 'x ', 10n, NaN, ' a ', () => 1, undefined, null, 'ü\\n☃']) notify(v)",
    ),
    cell("notify-empty", caught("notify('')")),
    cell("notify-blank", caught("notify(' \\n')")),
    cell("notify-nothing", "notify()"),
    cell("notify-empty-uncaught", "notify('')", error="text"),
    cell("notify-refused", "notify('a'); text('on')", notifications="refused"),
    cell("notify-answered-with-the-wrong-kind", "notify('a'); text('on')", notifications="wrong kind"),
    cell("notify-then-fail", "notify('a'); throw 'x'"),
    cell("notify-then-exit", "notify('a'); notify('b'); exit()"),
    cell("notify-lone-surrogate", "notify('a\\ud800b')"),
    cell("text-first-argument", "text(1, 2, 3)"),
    cell("text-nothing", "text()"),
    cell(
        "text-detached",
        "const t = text; t(1); text.call(null, 2); [3].forEach(text); Reflect.apply(text, undefined, [4])",
    ),
    cell("text-bigint-in-json", first_line("text({b: 1n})")),
    cell("text-circular", "const a = {}; a.a = a; " + first_line("text(a)")),
    cell("text-throwing-getter", first_line("text({get a() { throw new Error('getter'); }})")),
    cell("text-throwing-to-json", caught("text({toJSON() { throw 7; }})")),
    cell(
        "returns-undefined",
        f"text([text('a'), image('{PNG}'), store('a', 1), notify('b'), clearTimeout(1)].map(String))",
    ),
    cell("timer-ids", "text([setTimeout(() => 1), setTimeout(() => 1), typeof setTimeout(() => 1)])"),
    *(
        cell(f"timer-refuses-{name}", caught(f"setTimeout({value})"))
        for name, value in {"number": "1", "string": "'x'", "nothing": "", "object": "({})"}.items()
    ),
    *(
        cell(f"clear-{name}", caught(f"clearTimeout({value})"))
        for name, value in {
            "nothing": "",
            "string": "'x'",
            "nan": "NaN",
            "negative": "-1",
            "unknown": "999",
            "null": "null",
            "symbol": "Symbol('x')",
        }.items()
    ),
    cell(
        "timer-gets-no-arguments",
        "setTimeout((...a) => text(a.length), 1, 'x', 'y'); await new Promise(r => setTimeout(r, 10))",
    ),
    cell("timer-this", "setTimeout(function () { text(String(this)); }, 1); await new Promise(r => setTimeout(r, 10))"),
    cell(
        "clear-before",
        "const a = setTimeout(() => text('no'), 1); clearTimeout(a); clearTimeout(a); await new Promise(r => setTimeout(r, 10))",
    ),
    cell(
        "clear-converts",
        "const a = setTimeout(() => text('no'), 1); clearTimeout(String(a)); const b = setTimeout(() => text('no'), 1); clearTimeout(b + 0.5); await new Promise(r => setTimeout(r, 10))",
    ),
    cell(
        "clear-from-inside",
        "const a = setTimeout(() => { clearTimeout(a); text('ran'); }, 1); await new Promise(r => setTimeout(r, 10))",
    ),
    cell(
        "exit-in-try",
        "text('before'); try { exit(); text('after'); } catch (e) { text('caught'); } finally { text('finally'); }",
    ),
    cell("exit-in-a-job", "Promise.resolve().then(() => exit()); await null; await null; await null; text('no')"),
    cell("exit-in-a-timer", "setTimeout(() => { text('t'); exit(); text('n'); }, 1); await new Promise(() => {})"),
    cell("exit-in-a-loop", "for (;;) { try { exit(); } catch {} finally { continue; } }"),
    cell("exit-in-finally-break", "out: try { exit(); } finally { break out; } text('escaped')"),
    cell("exit-in-to-json", "text({toJSON() { text('in'); exit(); }}); text('no')"),
    cell("exit-in-a-static-block", "class A { static { exit(); } } text('no')"),
    cell(
        "exit-in-a-generator",
        "function* g() { try { yield 1; } finally { exit(); } } for (const x of g()) break; text('no')",
    ),
    cell("exit-in-an-executor", "new Promise(() => exit()); text('no')"),
    cell("exit-in-a-callback", "[1, 2].map(() => exit()); text('no')"),
    cell("exit-in-a-getter", "({get a() { exit(); }}).a; text('no')"),
    cell(
        "exit-in-an-async-function",
        "async function f() { try { exit(); } finally { text('F'); } } await f(); text('no')",
    ),
    cell("exit-drops-jobs", "Promise.resolve().then(() => text('job')); exit()"),
    cell("exit-arguments-are-nothing", "exit(new Error('x'))"),
    cell("exit-replaced", "const real = exit; globalThis.exit = () => text('mine'); exit(); real(); text('no')"),
    cell("exit-thrown-is-its-source", "text(typeof exit)"),
    cell("yield-control-returns-undefined", "text([typeof yield_control, yield_control.length])"),
)
