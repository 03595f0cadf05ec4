"""The helpers for what tools answer with: blocks of MCP, sounds, generated images, and promises as they settle."""

# ruff: noqa: E501 - scripts and what they say stand on one line

from __future__ import annotations

import json
from typing import Any

import pytest

WAV = "data:audio/wav;base64,aa"
PNG = "data:image/png;base64,aa"
AUDIO_EXPECTS = "audio expects a non-empty audio URL string, an object with audio_url, or a raw MCP audio block"
IMAGE_EXPECTS = (
    "image expects a non-empty image URL string, an object with image_url and optional detail, or a raw MCP image block"
)
INVALID = "Tool call failed: invalid audio output. Pass a base64 data URI instead"
NOT_JSON = "failed to serialize JavaScript value: expected value at line 1 column 1"
BLOCK = "content expects one MCP ContentBlock"


# audio


@pytest.mark.parametrize(
    ("value", "url"),
    [
        (f"'{WAV}'", WAV), ("'DATA:x'", "DATA:x"), ("'data:'", "data:"), ("'data:é€\\ud800'", "data:é€\ufffd"),
        (f"{{ audio_url: '{WAV}' }}", WAV), (f"{{ type: 'text', audio_url: '{WAV}' }}", WAV),
        (f"Object.assign(() => 1, {{ audio_url: '{WAV}' }})", WAV),
        ("{ type: 'audio', data: 'aa', mimeType: 'audio/wav' }", WAV), ("{ type: 'audio', data: 'aa', mime_type: 'audio/wav' }", WAV),
        ("{ type: 'audio', data: 'aa', mimeType: '', mime_type: 'a/b' }", "data:application/octet-stream;base64,aa"),
        (f"{{ type: 'audio', data: '{WAV}', mimeType: 'x/y' }}", WAV),
        ("{ toJSON() { return { type: 'audio', data: 'aa', mimeType: 'audio/wav' } } }", WAV),
    ],
)  # fmt: skip
def test_audio_takes_every_form(run: Any, value: str, url: str) -> None:
    assert run(f"text(audio({value}))").items == [{"audio_url": url}, "undefined"]


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("", AUDIO_EXPECTS), ("null", AUDIO_EXPECTS), ("5", AUDIO_EXPECTS), ("''", AUDIO_EXPECTS), ("Symbol()", AUDIO_EXPECTS),
        ("[]", AUDIO_EXPECTS), ("{}", AUDIO_EXPECTS), ("{ audio_url: 5 }", AUDIO_EXPECTS), ("{ audio_url: null }", AUDIO_EXPECTS),
        ("Object.create({ type: 'audio', data: 'aa' })", AUDIO_EXPECTS), ("() => 1", NOT_JSON),
        ("'x'", INVALID), ("'http://x'", INVALID), (f"' {WAV}'", INVALID), ("{ audio_url: 'https://x' }", INVALID),
        ("{ type: 'image', data: 'aa' }", 'audio only accepts MCP audio blocks, got "image"'),
        ("{ type: 'audio' }", "audio expected MCP audio data"), ("{ type: 'audio', data: '' }", "audio expected MCP audio data"),
        ("{ get audio_url() { throw 7 } }", "7"), ("{ get type() { throw 7 } }", "7"),
    ],
)  # fmt: skip
def test_audio_says_what_is_wrong(run: Any, value: str, error: str) -> None:
    ran = run(f"try {{ audio({value}) }} catch (e) {{ text(typeof e) }} audio({value})")
    assert (ran.items, ran.error) == (["string"], error)


@pytest.mark.parametrize("unit", ["x", "é", "€"])
@pytest.mark.parametrize("length", [1, 2048, 4095, 1 << 20, 3_000_000])
def test_sounds_of_every_length_arrive_whole_and_in_order(run: Any, unit: str, length: int) -> None:
    ran = run(f"const s = 'data:' + '{unit}'.repeat({length}); text('a'); audio(s); image(s); audio(s); text('b')")
    url = "data:" + unit * length
    assert ran.items == ["a", {"audio_url": url}, {"image_url": url, "detail": "high"}, {"audio_url": url}, "b"]


# generatedImage


@pytest.mark.parametrize(
    ("value", "items"),
    [
        (f"{{ image_url: '{PNG}' }}", [{"image_url": PNG, "detail": "high"}]),
        (f"{{ image_url: '{PNG}', output_hint: 'saved' }}", [{"image_url": PNG, "detail": "high"}, "saved"]),
        (f"{{ image_url: '{PNG}', detail: 'low', output_hint: '' }}", [{"image_url": PNG, "detail": "low"}, ""]),
        (f"{{ image_url: '{PNG}' }}, 'low'", [{"image_url": PNG, "detail": "high"}]),
        ("{ type: 'image', data: 'aa', mimeType: 'image/png' }", [{"image_url": PNG, "detail": "high"}]),
    ],
)
def test_a_generated_image_comes_with_its_hint(run: Any, value: str, items: list[Any]) -> None:
    assert run(f"text(generatedImage({value}))").items == [*items, "undefined"]


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("", "generatedImage expects an image generation result object"),
        (f"'{PNG}'", "generatedImage expects an image generation result object"),
        ("{ output_hint: 'h' }", IMAGE_EXPECTS),
        ("{ image_url: 5, output_hint: null }", "generatedImage output_hint must be a string when provided"),
        ("{ get output_hint() { throw 7 } }", "failed to read generatedImage output_hint"),
        (f"{{ image_url: '{PNG}', detail: 'x' }}", "image detail must be one of: auto, low, high, original"),
    ],
)
def test_generated_image_says_what_is_wrong_and_shows_nothing(run: Any, value: str, error: str) -> None:
    ran = run(f"generatedImage({value})")
    assert (ran.items, ran.error) == ([], error)


# content


@pytest.mark.parametrize(
    ("value", "items"),
    [
        ("{ type: 'text', text: 'a', annotations: 5 }", ["a"]), ("{ type: 'text', text: '' }", [""]),
        ("{ type: 'text', text: new String('q') }", ["q"]), ("{ toJSON() { return { type: 'text', text: 'tj' } } }", ["tj"]),
        ("{ type: 'image', data: 'aa', mimeType: 'image/png' }", [{"image_url": PNG, "detail": "high"}]),
        ("{ type: 'image', data: 'aa', mime_type: 'image/png', _meta: { 'codex/imageDetail': 'low' } }", [{"image_url": PNG, "detail": "low"}]),
        ("{ type: 'image', data: '', mimeType: '' }", [{"image_url": "data:;base64,", "detail": "high"}]),
        ("{ type: 'audio', data: 'aa', mimeType: 'audio/wav' }", [{"audio_url": WAV}]),
        ("{ type: 'audio', data: 'aa', mimeType: null }", [{"audio_url": "data:application/octet-stream;base64,aa"}]),
        ("{ type: 'resource', resource: { uri: 'x', text: 'y' } }", ['{"type":"resource","resource":{"uri":"x","text":"y"}}']),
        ("{ resource: { uri: 'x', blob: 'y' }, type: 'resource' }", ['{"resource":{"uri":"x","blob":"y"},"type":"resource"}']),
        ("{ type: 'resource_link', uri: 'x', name: 'n', size: 5, more: [1] }", ['{"type":"resource_link","uri":"x","name":"n","size":5,"more":[1]}']),
        ("[]", []), ("[{ type: 'text', text: '1' }, { type: 'audio', data: 'aa', mimeType: 'audio/wav' }]", ["1", {"audio_url": WAV}]),
        ("new Set([{ type: 'text', text: 's' }])", ["s"]),
        ("(function* () { yield { type: 'text', text: 'g' }; text('between'); yield { type: 'text', text: 'h' } })()", ["g", "between", "h"]),
        ("{ type: 'text', text: 'block', [Symbol.iterator]: null }", ["block"]),
        ("Object.assign([{ type: 'text', text: 'in' }], { type: 'text', text: 'block' })", ["in"]),
    ],
)  # fmt: skip
def test_content_shows_blocks(run: Any, value: str, items: list[Any]) -> None:
    assert run(f"text(content({value}))").items == [*items, "undefined"]


@pytest.mark.parametrize(
    "value",
    [
        "", "null", "5", "'text'", "{}", "{ type: 'other' }", "{ type: 'text' }", "{ type: 'text', text: 5 }", "{ content: [] }",
        "[[{ type: 'text', text: 'x' }]]", "['a']", "[null]", "Object.create({ type: 'text', text: 'x' })", "{ type: 'image' }",
        "{ type: 'image', data: 'aa', mimeType: 5 }", "{ type: 'audio', data: 'aa', mimeType: 'a', mime_type: 'a' }",
        "{ type: 'audio', audio_url: 'data:x' }", "{ type: 'resource' }", "{ type: 'resource', resource: { uri: 'x' } }",
        "{ type: 'resource', resource: { text: 'x' } }", "{ type: 'resource', resource: { uri: 'x', text: 'x', mimeType: 5 } }",
        "{ type: 'resource_link', uri: 'x' }", "{ type: 'resource_link', uri: 'x', name: 'n', title: 5 }",
        "{ type: 'resource_link', uri: 'x', name: 'n', size: 1.5 }", "{ type: 'resource_link', uri: 'x', name: 'n', icons: 5 }",
    ],
)  # fmt: skip
def test_content_refuses_what_is_no_block(run: Any, value: str) -> None:
    ran = run(f"content({value})")
    assert (ran.items, ran.error) == ([], BLOCK)


@pytest.mark.parametrize("value", ["Symbol()", "() => 1", "{ toJSON() {} }"])
def test_content_refuses_what_is_no_json(run: Any, value: str) -> None:
    assert run(f"content({value})").error == NOT_JSON


def test_content_stops_at_the_first_bad_block_and_ends_the_iteration(run: Any) -> None:
    ran = run(
        "content((function* () { try { yield { type: 'text', text: 'a' }; yield 5; text('no') } finally { text('closed') } })())"
    )
    assert (ran.items, ran.error) == (["a", "closed"], BLOCK)


def test_an_iterators_own_error_passes_through_content(run: Any) -> None:
    ran = run(
        "const own = new Error('own'); try { content((function* () { throw own })()) } catch (e) { text(e === own) }"
    )
    assert ran.items == ["true"]


# as_settled and stream_settled

SLOW = "const after = (ms, v) => new Promise((r) => setTimeout(r, ms, v)).then(() => v);"


def test_results_come_in_the_order_in_which_promises_settle(run: Any) -> None:
    ran = run(
        SLOW + "for await (const r of as_settled([after(9, 'a'), 2, Promise.reject('no'), after(3, 'b')])) text(r)"
    )
    assert [json.loads(item) for item in ran.items] == [
        {"index": 1, "status": "fulfilled", "value": 2},
        {"index": 2, "status": "rejected", "reason": "no"},
        {"index": 3, "status": "fulfilled", "value": "b"},
        {"index": 0, "status": "fulfilled", "value": "a"},
    ]


@pytest.mark.parametrize(
    ("promises", "said"),
    [
        ("[]", []), ("new Set([1])", [[0, 1]]), ("'ab'", [[0, "a"], [1, "b"]]), ("[,]", [[0, None]]),
        ("new Map([['k', Promise.resolve(1)], [5, 2]])", [["k", 1], [5, 2]]), ("new Map([['k', 1]]).entries()", [[0, ["k", 1]]]),
        ("(function* () { yield 1; yield Promise.resolve(2) })()", [[0, 1], [1, 2]]),
        ("[{ then(f) { f(5) } }]", [[0, 5]]), ("[{ then(f) { setTimeout(() => f(5), 1) } }, 1]", [[1, 1], [0, 5]]),
        ("[tools.echo('x'), tools.echo('y')]", [[0, "x"], [1, "y"]]),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "way",
    ["for await (const r of as_settled(%s)) say(r)", "await stream_settled(%s, async (r) => { await null; say(r) })"],
)
def test_any_iterable_of_anything_is_awaited(run: Any, way: str, promises: str, said: list[Any]) -> None:
    ran = run("const say = (r) => text([r.index, r.value]);" + way % promises)
    assert [json.loads(item) for item in ran.items] == said


@pytest.mark.parametrize("promises", ["", "null", "5", "{}", "[Symbol.iterator]"])
def test_what_cannot_be_gone_over_is_a_type_error(run: Any, promises: str) -> None:
    promises = promises.replace("[Symbol.iterator]", "{ [Symbol.iterator]: 5 }")
    ran = run(f"try {{ as_settled({promises}) }} catch (e) {{ text(e instanceof TypeError) }}")
    assert ran.items == ["true"]
    ran = run(
        f"const p = stream_settled({promises or 'undefined'}, () => 1); p.catch((e) => text(e instanceof TypeError))"
    )
    assert ran.items == ["true"]


def test_it_is_an_ordinary_async_generator(run: Any) -> None:
    ran = run(
        "const g = as_settled([1, 2]), kind = (async function* () {})(); const up = Object.getPrototypeOf;"
        " text([String(g), up(g) === up(up(kind)), Reflect.ownKeys(g), g[Symbol.asyncIterator]() === g]);"
        " text(await Promise.all([g.next(), g.return('r'), g.next()]))"
    )
    assert ran.items == [
        '["[object AsyncGenerator]",true,[],true]',
        '[{"value":{"index":0,"status":"fulfilled","value":1},"done":false},{"value":"r","done":true},{"done":true}]',
    ]


def test_promises_are_taken_at_once_and_rejections_kept_until_asked_for(run: Any) -> None:
    ran = run(
        "const g = as_settled((function* () { text('taken'); yield new Promise((f, no) => setTimeout(no, 1)) })()); text('made');"
        " await new Promise((r) => setTimeout(r, 5)); text((await g.next()).value)"
    )
    assert ran.items == ["taken", "made", '{"index":0,"status":"rejected"}']


def test_leaving_early_forgets_the_rest(run: Any) -> None:
    ran = run(
        "for await (const r of as_settled([1, 2, Promise.reject('no')])) { text(r.index); break }"
        " try { await stream_settled([1, 2], (r) => { text(r.index); throw 'stop' }) } catch (e) { text(e) } text('end')"
    )
    assert ran.items == ["0", "0", "stop", "end"]


def test_each_callback_ends_before_the_next_one_begins(run: Any) -> None:
    ran = run(
        SLOW
        + "text(typeof await stream_settled([1, 2], async (...a) => { text(`in ${a.length}`); await after(3); text('out') }))"
    )
    assert ran.items == ["in 1", "out", "in 1", "out", "undefined"]


def test_a_stream_without_a_callback_is_a_type_error(run: Any) -> None:
    ran = run("await stream_settled(5, {})")
    assert ran.error == "TypeError: stream_settled requires a callback\n    at exec_main.mjs:1:7"


def test_a_promise_that_never_settles_keeps_the_cell_waiting(run: Any) -> None:
    ran = run("for await (const r of as_settled([new Promise(() => {}), 1])) text(r.index)")
    assert (ran.pending, ran.items) == (True, ["1"])


def test_twenty_thousand_promises_settle(run: Any) -> None:
    ran = run(
        "let n = 0; for await (const r of as_settled(Array.from({ length: 20000 }, (_, i) => i))) n += r.value; text(n)"
    )
    assert ran.items == [str(sum(range(20_000)))]


def test_the_helper_module_exports_them(run: Any) -> None:
    ran = run(
        "import { content, audio, generatedImage, as_settled, stream_settled } from '@openai/code_mode';"
        " text([content, audio, generatedImage, as_settled, stream_settled].every((f) => f === globalThis[['content', 'audio',"
        " 'generatedImage', 'as_settled', 'stream_settled'].find((name) => globalThis[name] === f)]))"
    )
    assert ran.items == ["true"]
