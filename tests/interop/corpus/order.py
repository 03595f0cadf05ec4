"""The order of things: promise jobs, timers, the end of a module, calls and notifications among output."""

# ruff: noqa: E501 (a script, or the steps of a conversation, read best in one line)

from __future__ import annotations

from tests.interop.differential.cases import Tool, cell

SETTLE = "await new Promise(r => setTimeout(r, 60));"

CASES = (
    cell(
        "jobs-after-the-end",
        "Promise.resolve().then(() => text('1')).then(() => text('2')).then(() => text('3')); text('end')",
    ),
    cell(
        "jobs-between-awaits", "Promise.resolve().then(() => text('1')).then(() => text('2')); await null; text('end')"
    ),
    cell(
        "async-function-after-the-end",
        "(async () => { for (let i = 0; i < 50; i++) { await null; text(i); } })(); text('end')",
    ),
    cell(
        "then-interleave",
        "const a = n => Promise.resolve().then(() => text(n + 1)).then(() => text(n + 2)); a('a'); a('b'); await a('c')",
    ),
    cell(
        "await-a-promise-takes-one",
        "(async () => { await Promise.resolve(); text('a'); })(); Promise.resolve().then(() => text('b')); await null",
    ),
    cell(
        "await-a-thenable-takes-more",
        "(async () => { await {then(f) { f(); }}; text('a'); })(); Promise.resolve().then(() => text('b')).then(() => text('c')).then(() => text('d')); await null",
    ),
    cell(
        "return-a-promise-takes-three",
        "(async () => Promise.resolve())().then(() => text('a')); Promise.resolve().then(() => text('1')).then(() => text('2')).then(() => text('3')).then(() => text('4'))",
    ),
    cell(
        "resolve-with-a-promise",
        "new Promise(r => r(Promise.resolve())).then(() => text('a')); Promise.resolve().then(() => text('1')).then(() => text('2')).then(() => text('3'))",
    ),
    cell(
        "for-await-order",
        "(async () => { for await (const x of ['a', 'b']) text(x); })(); Promise.resolve().then(() => text('1')).then(() => text('2')).then(() => text('3')).then(() => text('4'))",
    ),
    cell(
        "async-generator-order",
        "async function* g() { yield 1; yield 2; } const i = g(); i.next().then(r => text(r)); i.next().then(r => text(r)); i.return(3).then(r => text(r)); Promise.resolve().then(() => text('a')).then(() => text('b'))",
    ),
    cell(
        "finally-order",
        "Promise.resolve(1).finally(() => text('f')).then(v => text(v)); Promise.resolve().then(() => text('1')).then(() => text('2')).then(() => text('3'))",
    ),
    cell(
        "all-order",
        "Promise.all([1, 2]).then(() => text('all')); Promise.resolve().then(() => text('1')).then(() => text('2')).then(() => text('3'))",
    ),
    cell(
        "race-order",
        "Promise.race([1, 2]).then(() => text('race')); Promise.resolve().then(() => text('1')).then(() => text('2')).then(() => text('3'))",
    ),
    cell(
        "any-order",
        "Promise.any([1, 2]).then(() => text('any')); Promise.resolve().then(() => text('1')).then(() => text('2')).then(() => text('3'))",
    ),
    cell(
        "catch-chain",
        "Promise.reject(1).then(() => text('no')).catch(() => text('caught')); Promise.resolve().then(() => text('1')).then(() => text('2')).then(() => text('3'))",
    ),
    cell(
        "job-in-a-job-after-the-end",
        "Promise.resolve().then(() => { Promise.resolve().then(() => { Promise.resolve().then(() => text('deep')); }); }); text('end')",
    ),
    cell(
        "error-in-a-job-after-the-end",
        "Promise.resolve().then(() => { text('late'); throw new Error('x'); }); text('end')",
    ),
    cell("awaiting-a-rejected-job", "Promise.reject('lost'); await null; await null; text('end')"),
    cell(
        "exit-in-a-job-after-the-end",
        "Promise.resolve().then(() => { text('late'); exit(); }).then(() => text('no')); text('end')",
    ),
    cell(
        "timers-by-delay",
        f"setTimeout(() => text('c'), 40); setTimeout(() => text('b'), 20); setTimeout(() => text('a')); {SETTLE}",
    ),
    cell("timers-same-delay", f"for (let i = 0; i < 10; i++) setTimeout(() => text(i), 5); {SETTLE}"),
    cell(
        "timers-odd-delays",
        f"for (const d of [-5, NaN, null, undefined, {{}}, Infinity, -Infinity]) setTimeout(() => text(String(d)), d); {SETTLE}",
    ),
    cell(
        "timers-far-away",
        f"setTimeout(() => text('no'), 2 ** 31); setTimeout(() => text('no'), 2 ** 32); setTimeout(() => text('no'), 1e12); {SETTLE}",
    ),
    cell("timers-string-delay", f"setTimeout(() => text('20'), '20'); setTimeout(() => text('0'), 'x'); {SETTLE}"),
    cell(
        "timer-jobs-before-the-next",
        f"setTimeout(() => {{ Promise.resolve().then(() => text('job')); text('1'); }}, 5); setTimeout(() => text('2'), 5); {SETTLE}",
    ),
    cell(
        "timer-in-a-timer",
        f"setTimeout(() => {{ text('a'); setTimeout(() => text('c'), 0); }}, 1); setTimeout(() => text('b'), 10); {SETTLE}",
    ),
    cell(
        "timer-cleared-by-a-timer",
        f"const b = setTimeout(() => text('b'), 20); setTimeout(() => {{ text('a'); clearTimeout(b); }}, 1); {SETTLE}",
    ),
    cell("timers-do-not-keep-a-cell", "setTimeout(() => text('no'), 0); text('end')"),
    cell(
        "timers-due-at-the-end",
        "setTimeout(() => text('no'), 0); for (let i = 0, t = Date.now(); Date.now() < t + 20; i++); text('end')",
    ),
    cell(
        "timer-made-by-a-job-after-the-end",
        "(async () => { await null; setTimeout(() => text('no'), 0); text('job'); })(); text('end')",
    ),
    cell(
        "timer-waits-its-time",
        "const t = Date.now(); await new Promise(r => setTimeout(r, 50)); text(Date.now() - t >= 49)",
    ),
    cell(
        "timer-chain",
        "let n = 0; await new Promise(r => (function f() { text(n); ++n < 5 ? setTimeout(f, 1) : r(); })())",
    ),
    cell("settled-by-a-timer", "text(await new Promise(r => setTimeout(() => r('late'), 5)))"),
    cell(
        "timer-after-the-settling-one",
        "let go; const p = new Promise(r => { go = r; }); setTimeout(() => go(), 5); setTimeout(() => text('no'), 5); await p; text('end')",
    ),
    cell(
        "calls-and-notifications-in-order",
        "text('a'); notify('1'); const p = tools.echo('2'); text('b'); notify('3'); await p; text('c')",
        tools=(Tool("echo"),),
    ),
    cell(
        "call-before-a-loop-ends",
        "const p = tools.echo(1); let n = 0; for (let i = 0; i < 1e6; i++) n += i; text(n); text(await p)",
        tools=(Tool("echo"),),
    ),
    cell(
        "output-after-a-call", "await tools.echo(1); text('a'); await tools.echo(2); text('b')", tools=(Tool("echo"),)
    ),
    cell(
        "answers-while-busy",
        "const p = [tools.echo(1), tools.echo(2)]; p.map((q, i) => q.then(() => text('then ' + i))); for (let t = Date.now(); Date.now() < t + 30;); await Promise.all(p); text('end')",
        tools=(Tool("echo"),),
    ),
    cell("notify-in-the-middle-of-a-job", "await null; notify('a'); await null; notify('b')"),
    cell("text-then-image-then-text", "text('1'); image('data:image/png;base64,aa'); text('2')"),
)
