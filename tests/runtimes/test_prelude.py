"""The helpers do what they do on the reference host, word for word where the words are its own."""

# ruff: noqa: E501 - scripts and what they say stand on one line

from __future__ import annotations

import json
from typing import Any

import pytest

URL = "data:image/png;base64,aa"
IMAGE_EXPECTS = (
    "image expects a non-empty image URL string, an object with image_url and optional detail, or a raw MCP image block"
)
DETAIL = "image detail must be one of: auto, low, high, original"
REMOTE = "Tool call failed: remote image URLs are not supported in tool outputs. Pass a base64 data URI instead"
INVALID = "Tool call failed: invalid image output. Pass a base64 data URI instead"
NOT_JSON = "failed to serialize JavaScript value: expected value at line 1 column 1"


# text


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "undefined"), ("undefined", "undefined"), ("null", "null"), ("true", "true"), ("-0", "0"), ("NaN", "NaN"),
        ("1e21", "1e+21"), ("10n", "10"), ("''", ""), ("'x', 'y'", "x"), ("Symbol('s')", "undefined"), ("() => 1", "undefined"),
        ("{}", "{}"), ("[1, [2], undefined, () => 1]", "[1,[2],null,null]"), ("new String('x')", '"x"'), ("/x/", "{}"),
        ("new Date(0)", '"1970-01-01T00:00:00.000Z"'), ("new Map([[1, 2]])", "{}"), ("new Error('e')", "{}"),
        ("{ toJSON() {} }", "undefined"), ("{ toJSON() { return 'j' } }", '"j"'), ("{ toString() { return 'x' } }", "{}"),
        ("Object.create(null)", "{}"), ("Promise.resolve(1)", "{}"), ("new Proxy(() => 1, {})", "undefined"),
        ("'\\ud800x\\udc00'", "\ufffdx\ufffd"), ("'\\ud83d\\ude00'", "😀"), ("{ a: '\\ud800' }", '{"a":"\\ud800"}'),
        ("'é'", "é"), ("'€'", "€"), ("'\\u0000\\u00ff\\u0100'", "\0ÿĀ"), ("'\\ud800'.repeat(3)", "\ufffd\ufffd\ufffd"),
    ],
)  # fmt: skip
def test_text_writes_every_value_as_the_reference_does(run: Any, value: str, said: str) -> None:
    ran = run(f"text({value}); text(text(''))")
    assert ran.items == [said, "", "undefined"]


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("(() => { const a = {}; a.a = a; return a })()", "TypeError"),
        ("{ a: 1n }", "TypeError"),
        ("{ toJSON() { throw new RangeError('own') } }", "RangeError: own"),
        ("{ get a() { throw 5 } }", "5"),
    ],
)
@pytest.mark.parametrize("helper", ["text(%s)", "notify(%s)", "store('k', %s)", "tools.echo(%s)"])
def test_what_cannot_be_json_is_thrown_as_the_text_of_its_error(run: Any, helper: str, value: str, error: str) -> None:
    ran = run("try { " + helper % value + "; text('no') } catch (e) { text(typeof e); text(e) }")
    assert ran.items[0] == "string"
    assert ran.items[1].split(":" if ":" not in error else "\n")[0] == error
    assert ran.events == []


# Output memory


@pytest.mark.parametrize("unit", ["x", "é", "€", "😀"])
@pytest.mark.parametrize("length", [1, 2, 3, 4095, 1 << 19, (1 << 20) - 12, (1 << 20) - 8, (1 << 20) + 1, 3_000_000])
def test_texts_of_every_length_arrive_whole(run: Any, unit: str, length: int) -> None:
    ran = run(
        f"const s = '{unit}'.repeat({length}); text('first'); text(s); text('between'); text(s + 'end'); text('last')"
    )
    whole = unit * length
    assert [len(item) for item in ran.items] == [5, len(whole), 7, len(whole) + 3, 4]
    assert ran.items == ["first", whole, "between", whole + "end", "last"]


def test_a_flood_of_small_texts_arrives_in_order(run: Any) -> None:
    ran = run("for (let i = 0; i < 200000; i++) text(i)", count_only=True)
    assert ran.items == [200_000, sum(len(str(i)) for i in range(200_000))]
    assert ran.flushes >= 2


def test_texts_and_images_of_mixed_width_arrive_in_order(run: Any) -> None:
    ran = run(
        "for (let i = 0; i < 3000; i++) { text('a'.repeat(i % 700)); text('€'.repeat(i % 300));"
        " if (i % 100 === 0) image('data:' + '€'.repeat(i)) }"
    )
    expected: list[Any] = []
    for i in range(3000):
        expected += ["a" * (i % 700), "€" * (i % 300)]
        if i % 100 == 0:
            expected.append({"image_url": "data:" + "€" * i, "detail": "high"})
    assert ran.items == expected
    assert ran.flushes > 0


# image


@pytest.mark.parametrize(
    ("arguments", "url", "detail"),
    [
        (f"'{URL}'", URL, "high"), (f"'{URL}', 'low'", URL, "low"), (f"'{URL}', 'LOW'", URL, "low"),
        (f"'{URL}', null", URL, "high"), (f"'{URL}', 'original', 1", URL, "original"), ("'DATA:x'", "DATA:x", "high"),
        ("'data:'", "data:", "high"), ("'data:\\ud800'", "data:\ufffd", "high"),
        (f"{{ image_url: '{URL}' }}", URL, "high"), (f"{{ image_url: '{URL}', detail: 'low' }}", URL, "low"),
        (f"{{ image_url: '{URL}', detail: null }}", URL, "high"), (f"{{ image_url: '{URL}', detail: 'no' }}, 'low'", URL, "low"),
        (f"{{ type: 'text', image_url: '{URL}' }}", URL, "high"), (f"Object.assign(() => 1, {{ image_url: '{URL}' }})", URL, "high"),
        ("{ type: 'image', data: 'aa', mimeType: 'image/png' }", URL, "high"),
        ("{ type: 'image', data: 'aa', mimeType: 'image/png' }, 'low'", URL, "low"),
        ("{ type: 'image', data: 'aa', mime_type: 'image/png', detail: 'low' }", URL, "high"),
        ("{ type: 'image', data: 'aa', mimeType: 5 }", "data:application/octet-stream;base64,aa", "high"),
        (f"{{ type: 'image', data: '{URL}', mimeType: 'x/y' }}", URL, "high"),
        ("{ type: 'image', data: 'aa', mimeType: 'image/png', _meta: { 'codex/imageDetail': 'low' } }", URL, "low"),
        ("{ type: 'image', data: 'aa', mimeType: 'image/png', _meta: { 'codex/imageDetail': 'no' } }", URL, "high"),
        ("{ type: 'image', data: 'aa', mimeType: 'image/png', _meta: null }", URL, "high"),
    ],
)  # fmt: skip
def test_image_takes_every_form(run: Any, arguments: str, url: str, detail: str) -> None:
    ran = run(f"text(image({arguments}))")
    assert ran.items == [{"image_url": url, "detail": detail}, "undefined"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("", IMAGE_EXPECTS), ("null", IMAGE_EXPECTS), ("5", IMAGE_EXPECTS), ("''", IMAGE_EXPECTS), ("[]", IMAGE_EXPECTS),
        ("{}", IMAGE_EXPECTS), ("{ image_url: 5 }", IMAGE_EXPECTS), ("{ image_url: '' }", IMAGE_EXPECTS),
        (f"new String('{URL}')", IMAGE_EXPECTS), ("Symbol()", IMAGE_EXPECTS), ("5, 'bogus'", IMAGE_EXPECTS),
        ("'x'", INVALID), ("'  data:x'", INVALID), ("'ftp://x'", INVALID), ("'x', 'bogus'", INVALID),
        ("'http://a/b.png'", REMOTE), ("'HTTPS://a'", REMOTE), ("{ image_url: 'http:x' }", REMOTE),
        (f"'{URL}', 'bogus'", DETAIL), (f"'{URL}', ''", DETAIL), (f"{{ image_url: '{URL}', detail: 'bogus' }}", DETAIL),
        (f"'{URL}', 5", "image detail must be a string when provided"),
        ("{ type: 'text', text: 'x' }", 'image only accepts MCP image blocks, got "text"'),
        ("{ type: 'image' }", "image expected MCP image data"), ("{ type: 'image', data: '' }", "image expected MCP image data"),
        ("{ type: 'image', data: 5 }", "image expected MCP image data"),
    ],
)  # fmt: skip
def test_image_says_what_is_wrong(run: Any, arguments: str, error: str) -> None:
    ran = run(f"try {{ image({arguments}) }} catch (e) {{ text(typeof e) }} image({arguments})")
    assert (ran.items, ran.error) == (["string"], error)


# store and load


def test_values_are_stored_by_copy_and_kept_as_json(run: Any) -> None:
    ran = run(
        "const o = { b: [1, { c: null }] }; store('k', o); o.b = 0; const l = load('k'); l.b[0] = 5; text(load('k'));"
        " text([load('old').x, typeof load('none'), typeof load('toString'), typeof load()]);"
        " store('__proto__', 1); text(load('__proto__')); store(5, NaN); text([load('5'), load(5)]);"
        " store({ toString() { return 'ts' } }, new Date(0)); text(load('ts')); store('old', -0); text(load('old'))",
        stored={"old": {"x": 1}, "untouched": True},
    )
    assert ran.items == [
        '{"b":[1,{"c":null}]}', '[1,"undefined","undefined","undefined"]', "1", "[null,null]", "1970-01-01T00:00:00.000Z", "0"
    ]  # fmt: skip
    assert ran.stored == {
        "k": {"b": [1, {"c": None}]}, "__proto__": 1, "5": None, "ts": "1970-01-01T00:00:00.000Z", "old": 0
    }  # fmt: skip


def test_what_was_stored_before_an_error_is_kept(run: Any) -> None:
    ran = run("store('k', 1); throw new Error('late')")
    assert (ran.error.split("\n")[0], ran.stored) == ("Error: late", {"k": 1})


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("store('k')", 'Unable to store "k". Only plain serializable objects can be stored.'),
        ("store()", 'Unable to store "undefined". Only plain serializable objects can be stored.'),
        ("store('f', () => 1)", 'Unable to store "f". Only plain serializable objects can be stored.'),
        (
            "store('q\"\\n\\u0001', undefined)",
            'Unable to store "q\\"\\n\\u{1}". Only plain serializable objects can be stored.',
        ),
        ("store('s', '\\ud800')", "failed to serialize JavaScript value: lone surrogate in a string"),
        ("store(Symbol(), 1)", "store key must be a string"),
        ("store({ toString() { throw 1 } }, 1)", "store key must be a string"),
        ("load(Symbol())", "load key must be a string"),
    ],
)
def test_store_and_load_say_what_is_wrong(run: Any, call: str, error: str) -> None:
    ran = run(call)
    assert (ran.error, ran.stored) == (error, {})


# notify and yield_control


def test_notifications_leave_at_once_and_in_order(run: Any) -> None:
    ran = run(
        "text(notify('a')); notify({ a: 1 }); notify(null); notify(); notify('\\ud800'); yield_control('x'); notify(' b ')"
    )
    said = [("notify", "a"), ("notify", '{"a":1}'), ("notify", "null"), ("notify", "undefined"), ("notify", "\ufffd")]
    assert ran.events == [list(event) for event in [*said, ("yield", ""), ("notify", " b ")]]
    assert ran.items == ["undefined"]


@pytest.mark.parametrize("value", ["''", "' '", "'\\n\\t'", "'\\u00a0\\u2003\\u0085\\u3000'"])
def test_an_empty_notification_is_refused(run: Any, value: str) -> None:
    ran = run(f"notify({value})")
    assert (ran.error, ran.events) == ("notify expects non-empty text", [])


@pytest.mark.parametrize("value", ["'\\ufeff'", "'\\u200b'", "new String('')"])
def test_what_only_looks_empty_is_sent(run: Any, value: str) -> None:
    assert len(run(f"notify({value})").notes("notify")) == 1


# Timers


def test_timers_fire_in_the_order_of_their_deadlines_each_before_the_next_ones_jobs(run: Any) -> None:
    ran = run(
        "const log = []; for (const d of [5, 1, 3, 1, 0]) setTimeout(() => { log.push(d); Promise.resolve().then(() =>"
        " log.push('j' + d)) }, d); await new Promise((r) => setTimeout(r, 9)); text(log.join())"
    )
    assert ran.items == ["0,j0,1,j1,1,j1,3,j3,5,j5"]


@pytest.mark.parametrize(
    ("delay", "ms"),
    [
        ("5", 5), ("'7'", 7), ("2.9", 2), ("-3", 0), ("NaN", 0), ("undefined", 0), ("null", 0), ("Infinity", 0), ("1e12", 10**12),
        ("1e300", 2**53 - 1), ("{ valueOf() { return 4 } }", 4), ("[3]", 3),
    ],
)  # fmt: skip
def test_a_delay_is_a_number_of_milliseconds(run: Any, delay: str, ms: int) -> None:
    assert run(f"setTimeout(() => 1, {delay})").events == [["timer", f"1 {ms}"]]


def test_timer_ids_count_from_one_and_callbacks_get_nothing(run: Any) -> None:
    ran = run(
        "text([setTimeout(() => 1), setTimeout(() => 1)]); await new Promise((r) => setTimeout(function (...a) {"
        " text([a.length, this === undefined]); r() }, 1, 'x'))"
    )
    assert ran.items == ["[1,2]", "[0,true]"]


def test_a_cleared_timer_does_not_fire(run: Any) -> None:
    ran = run(
        "const no = () => text('no'); for (const f of [(id) => id, String, (id) => id + 0.5, (id) => [id]])"
        " clearTimeout(f(setTimeout(no, 1)));"
        " text([clearTimeout(), clearTimeout(null), clearTimeout('x'), clearTimeout(-1), clearTimeout(1e300)].join());"
        " await new Promise((r) => setTimeout(r, 5))"
    )
    assert ran.items == [",,,,"]


@pytest.mark.parametrize("id_", ["Symbol()", "1n", "{ valueOf() { throw 1 } }"])
def test_what_is_no_timer_id_is_refused(run: Any, id_: str) -> None:
    assert run(f"clearTimeout({id_})").error == "clearTimeout expects a numeric timeout id"


def test_what_is_no_callback_or_delay_is_refused(run: Any) -> None:
    assert run("setTimeout('x')").error == "setTimeout expects a function callback"
    assert run("setTimeout(() => 1, 1n)").error.startswith("TypeError: ")
    assert run("setTimeout(() => 1, { valueOf() { throw new RangeError('own') } })").error.startswith(
        "RangeError: own\n"
    )


@pytest.mark.parametrize(("thrown", "error"), [("new Error('t')", "Error: t\n    at exec_main.mjs:1:26"), ("'s'", "s")])
def test_an_error_in_a_timer_fails_the_cell(run: Any, thrown: str, error: str) -> None:
    ran = run(
        f"setTimeout(() => {{ throw {thrown} }}, 1); store('k', 1); await new Promise((r) => setTimeout(r, 9)); text('no')"
    )
    assert (ran.error, ran.items, ran.stored) == (error, [], {"k": 1})


def test_a_rejection_in_a_timer_does_not(run: Any) -> None:
    ran = run("setTimeout(async () => { throw 1 }, 1); await new Promise((r) => setTimeout(r, 9)); text('on')")
    assert (ran.error, ran.items) == (None, ["on"])


# Tools


def test_all_calls_of_a_promise_all_are_in_flight_at_once(run: Any) -> None:
    ran = run(
        "text(await Promise.all([tools.echo({ b: 1, a: [2] }), tools.fail().catch((e) => [typeof e, e]), tools.echo()]))"
    )
    assert ran.events == [["call", '1 0 {"b":1,"a":[2]}'], ["call", "2 1 null"], ["call", "3 0 null"]]
    assert ran.items == ['[{"b":1,"a":[2]},["string","boom msg"],null]']


def test_a_refused_call_fails_the_cell_with_its_message_alone(run: Any) -> None:
    assert run("await tools.fail({})").error == "boom msg"


def test_an_unknown_tool_is_no_function(run: Any) -> None:
    assert run("await tools.missing({})").error.startswith("TypeError: tools.missing is not a function\n")


@pytest.mark.parametrize("value", ["() => 1", "Symbol()", "{ toJSON() {} }"])
def test_an_input_that_is_no_json_is_refused(run: Any, value: str) -> None:
    ran = run(f"tools.echo({value})")
    assert (ran.error, ran.events) == (NOT_JSON, [])


def test_an_input_with_a_lone_surrogate_is_refused_and_what_looks_like_one_is_not(run: Any) -> None:
    assert (
        run("tools.echo({ a: ['\\ud800'] })").error
        == "failed to serialize JavaScript value: lone surrogate in a string"
    )
    ran = run("text(await tools.echo({ a: '\\\\ud800', b: '\\\\\\\\ud800', c: '\\ud83d\\ude00' }))")
    assert json.loads(ran.items[0]) == {"a": "\\ud800", "b": "\\\\ud800", "c": "😀"}


@pytest.mark.parametrize(
    "answer", [{"then": 5}, {"then": {"x": 1}}, None, 0, "", [], {"__proto__": {"x": 1}}, "\u2028é😀"]
)
def test_any_answer_arrives_as_it_is(run: Any, answer: Any) -> None:
    ran = run("text(JSON.stringify(await tools.echo(1)))", answers={"echo": answer})
    assert json.loads(ran.items[0]) == answer


def test_ten_thousand_calls_in_flight_are_all_answered(run: Any) -> None:
    ran = run(
        "const all = await Promise.all(Array.from({ length: 10000 }, (_, i) => tools.echo(i)));"
        " text(all.every((v, i) => v === i))"
    )
    assert ran.items == ["true"]
    assert len(ran.notes("call")) == 10_000


def test_tools_are_described_and_an_ordinary_object(run: Any) -> None:
    ran = run(
        "text(ALL_TOOLS); text([Object.keys(tools), Object.getPrototypeOf(tools) === Object.prototype, tools.one.name,"
        " tools.one.length, tools.one() instanceof Promise, Object.isFrozen(tools)]); text(Array.isArray(ALL_TOOLS))",
        tools=["one", "__proto__", "constructor", "then"],
    )
    described = [{"name": n, "description": f"desc {n}"} for n in ("one", "__proto__", "constructor", "then")]
    assert json.loads(ran.items[0]) == described
    # Tools are assigned, so that one of this name becomes the prototype, as it does on the reference.
    assert json.loads(ran.items[1]) == [["one", "constructor", "then"], False, "", 0, True, False]
    assert json.loads(run("text(Object.getPrototypeOf(tools) === Object.prototype)").items[0]) is True


def test_a_declaration_may_shadow_a_helper(run: Any) -> None:
    ran = run("const text = 1, tools = 2; globalThis.text([text, tools])")
    assert ran.items == ["[1,2]"]


def test_helpers_ignore_how_they_are_called(run: Any) -> None:
    ran = run(
        "text.call(null, 1); Reflect.apply(text, {}, [2]); text(typeof new text(3)); [4].forEach(text); text(text.name === '')"
    )
    assert ran.items == ["1", "2", "3", "object", "4", "true"]
