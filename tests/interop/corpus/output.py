"""Output: many items, large items, every kind of character, and that none of it is lost or reordered."""

from __future__ import annotations

from tests.interop.differential.cases import Tool, cell

CASES = (
    cell("nothing", "const quiet = 1"),
    cell("empty-items", "text(''); text(''); text('')"),
    cell("three-thousand", "for (let i = 0; i < 3000; i++) text(i)"),
    cell("thirty-thousand", "for (let i = 0; i < 30000; i++) text('item ' + i)"),
    cell("a-megabyte", "text('x'.repeat(1 << 20))"),
    cell("five-megabytes", "text('é'.repeat(5 << 20))"),
    cell("sizes-around-a-page", "for (const n of [4095, 4096, 4097, 65535, 65536, 65537]) text('y'.repeat(n))"),
    cell(
        "sizes-around-the-shared-memory",
        "for (const n of [1048559, 1048560, 1048564, 1048568, 1048572, 1048576, 1048580]) text('z'.repeat(n))",
    ),
    cell("wide-sizes", "for (const n of [1, 2, 3, 524280, 524282, 524284, 524288]) text('\\u4e2d'.repeat(n))"),
    cell("odd-lengths", "for (let n = 0; n < 70; n++) text('a'.repeat(n))"),
    cell("odd-wide-lengths", "for (let n = 0; n < 70; n++) text('\\u2603'.repeat(n))"),
    cell(
        "latin-and-wide",
        "text('\\u00ff'); text('\\u0100'); text('a\\u00ffb'); text('a\\u0100b'); text('\\ufeff'); text('\\uffff')",
    ),
    cell("every-latin-character", "text(Array.from({length: 256}, (_, i) => String.fromCharCode(i)).join(''))"),
    cell(
        "astral",
        "text('😀'.repeat(1000)); text('a😀'); text('😀'.slice(0, 1)); text('😀'.slice(1)); text('\\udc00\\ud800')",
    ),
    cell("a-rope", "let s = ''; for (let i = 0; i < 20000; i++) s += i + ','; text(s)"),
    cell(
        "many-images",
        "for (let i = 0; i < 200; i++) image('data:image/png;base64,' + 'A'.repeat(1000), i % 2 ? 'low' : 'high')",
    ),
    cell("large-image", "image('data:image/png;base64,' + 'A'.repeat(3000000))"),
    cell("wide-image-url", "image('data:text/plain,☃')"),
    cell(
        "images-and-texts",
        "for (let i = 0; i < 50; i++) { text(i); image({image_url: 'data:,' + i, detail: 'auto'}); }",
    ),
    cell(
        "output-and-calls",
        "for (let i = 0; i < 30; i++) { text('x'.repeat(10000)); await tools.echo(i); }",
        tools=(Tool("echo"),),
    ),
    cell("large-json", "text(Array.from({length: 20000}, (_, i) => ({i})))"),
    cell("output-then-exit", "text('a'.repeat(100000)); exit()"),
    cell("output-then-error", "for (let i = 0; i < 1000; i++) text(i); throw 'end'"),
    cell(
        "output-in-timers",
        "let n = 0; await new Promise(r => (function f() { text(n); ++n < 20 ? setTimeout(f, 0) : r(); })())",
    ),
    cell("output-while-stringifying", "text({toJSON() { text('inner'); return 'outer'; }})"),
    cell("many-cells", *("text('cell')" for _ in range(10))),
)
