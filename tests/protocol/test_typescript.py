"""Schemas and tools as TypeScript, line by line; tests/e2e/test_declarations.py asks a compiler."""

# ruff: noqa: E501 - a schema and its type stand on one line

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from msgspec import Raw

from codemode_protocol import typescript_schemas
from codemode_protocol.typescript import (
    MCP_TYPES,
    call_tool_result_schema,
    declarations,
    schema_type,
    tool_declaration,
    tool_signature,
    uses_mcp_types,
    with_declarations,
)
from codemode_protocol.typescript_text import doc_comment, inline_comment, number_literal, snippet, string_literal
from codemode_protocol.values import ToolDefinition, ToolKind, ToolName
from tests.protocol.schemas import Json, Sample, malformed, samples, texts

NODE = {
    "type": "object",
    "properties": {"value": {"type": "string"}, "next": {"$ref": "#/$defs/Node"}},
    "required": ["value"],
}


def tool(schema: Json = None, output: Json = None, **fields: Any) -> ToolDefinition:
    schemas = [Raw(msgspec.json.encode(each)) for each in (schema, output)]
    name = fields.pop("name", "do")
    kind = fields.pop("kind", ToolKind.FUNCTION)
    return ToolDefinition(name, ToolName(name), fields.pop("description", ""), kind, *schemas)


def obj(**properties: Json) -> dict[str, Json]:
    return {"type": "object", "properties": properties, "required": list(properties)}


# Types


@pytest.mark.parametrize(
    ("schema", "type_"),
    [
        # Nothing said, or nothing allowed
        (True, "unknown"), ({}, "unknown"), (None, "unknown"), (False, "never"), ({"title": "T"}, "unknown"),
        # Types by name
        ({"type": "string"}, "string"), ({"type": "number"}, "number"), ({"type": "boolean"}, "boolean"),
        ({"type": "null"}, "null"), ({"type": "integer"}, "number /* integer */"),
        ({"type": ["string", "null"]}, "string | null"), ({"type": ["string", "string"]}, "string"),
        ({"type": ["integer", "null"]}, "number /* integer */ | null"),
        ({"type": "object"}, "Record<string, unknown>"), ({"type": "array"}, "unknown[]"),
        ({"type": "string", "nullable": True}, "string | null"),
        ({"type": ["string", "null"], "nullable": True}, "string | null"),
        ({"type": "never heard of"}, "unknown"), ({"type": ["odd", "string"]}, "string"),
        # Literals
        ({"const": "a"}, '"a"'), ({"const": None}, "null"), ({"const": True}, "true"), ({"const": -1.5}, "-1.5"),
        ({"const": 1.0}, "1"), ({"const": 2**60}, "number"), ({"const": float("inf")}, "number"),
        ({"const": [1, "a", {"b": False}]}, '[1, "a", { b: false; }]'), ({"const": {}}, "Record<string, unknown>"),
        ({"const": []}, "[]"), ({"const": object()}, "unknown"), ({"const": {1: "a-b", "a-b": 2}}, '{ "1": "a-b"; "a-b": 2; }'),
        ({"enum": ["a", 'b"\n\u2028', None]}, '"a" | "b\\"\\n\\u2028" | null'),
        ({"enum": ["a", 1, 1.5, None, True, [], {}], "type": "integer"}, "1"),
        ({"enum": ["a", None], "type": "string"}, '"a"'), ({"enum": [[1], {"a": 1}], "type": "array"}, "[1]"),
        ({"enum": [[1], {"a": 1}], "type": "object"}, "{ a: 1; }"),
        ({"enum": ["a", None], "type": "string", "nullable": True}, '"a" | null'),
        ({"enum": [1, 2], "type": "string"}, "1 | 2"), ({"enum": []}, "unknown"), ({"enum": "a"}, "unknown"),
        ({"enum": ["a"], "nullable": True}, '"a" | null'),
        # Arrays
        ({"items": {"type": "string"}}, "string[]"), ({"items": {"type": ["string", "number"]}}, "(string | number)[]"),
        ({"items": {"type": "integer"}}, "Array<number /* integer */>"), ({"items": False}, "never[]"),
        ({"items": {"items": {"const": 1}}}, "1[][]"), ({"items": {"allOf": [obj(a=True), obj(b=True)]}},
                                                         "({ a: unknown; } & { b: unknown; })[]"),
        # Tuples
        ({"prefixItems": [{"const": 1}, {"type": "string"}], "items": False, "minItems": 2}, "[1, string] /* items >= 2 */"),
        ({"prefixItems": [{"const": 1}, {"type": "string"}], "items": False, "minItems": 1}, "[1, string?] /* items >= 1 */"),
        ({"prefixItems": [{"const": 1}]}, "[1?, ...unknown[]]"),
        ({"prefixItems": [{"type": ["string", "null"]}], "items": {"type": "boolean"}}, "[(string | null)?, ...boolean[]]"),
        ({"prefixItems": [{"type": "integer"}], "maxItems": 1}, "[(number /* integer */)?] /* items <= 1 */"),
        ({"prefixItems": [{"const": 1}, {"const": 2}], "maxItems": 1.0}, "[1?] /* items <= 1.0 */"),
        ({"items": [{"const": 1}], "additionalItems": False}, "[1?]"), ({"items": [{"const": 1}]}, "[1?, ...unknown[]]"),
        ({"items": [{"const": 1}], "additionalItems": {"type": "string"}}, "[1?, ...string[]]"),
        ({"prefixItems": [{"const": 1}], "maxItems": 0, "minItems": -1}, "[] /* items -1..0 */"),
        ({"items": []}, "unknown[]"),
        # Objects
        (obj(a={"type": "string"}), "{ a: string; }"), (obj(), "Record<string, unknown>"),
        ({"properties": {"a": {"const": 1}}}, "{ a?: 1; }"), ({"required": ["a"]}, "{ a: unknown; }"),
        ({"properties": {"a": False}}, "{ a?: never; }"),
        (obj(**{"a-b": True, "1": True, "": True, "$a_1": True, "é": True}),
         '{ "a-b": unknown; "1": unknown; "": unknown; $a_1: unknown; "é": unknown; }'),
        (obj(**{'"\\\n\u2029\ud800': True}), '{ "\\"\\\\\\n\\u2029\\ud800": unknown; }'),
        ({"additionalProperties": {"type": "string"}}, "Record<string, string>"),
        ({"type": "object", "additionalProperties": True}, "Record<string, unknown>"),
        ({"type": "object", "additionalProperties": False}, "Record<string, never>"),
        ({"properties": {"a": {"const": 1}}, "additionalProperties": False}, "{ a?: 1; }"),
        ({"properties": {"a": {"const": 1}}, "additionalProperties": True}, "{ a?: 1; [key: string]: unknown; }"),
        ({"properties": {"a": {"const": 1}}, "unevaluatedProperties": {"const": 2}}, "{ a?: 1; [key: string]: unknown; }"),
        ({"properties": {"a": {"const": 1}}, "unevaluatedProperties": True}, "{ a?: 1; [key: string]: unknown; }"),
        ({"properties": {"a": {"const": 1}}, "additionalProperties": {"type": "string"}},
         "{ a?: 1; [key: string]: unknown /* others: string */; }"),
        ({"properties": {"a": {"const": 1}}, "additionalProperties": obj(**{f'property_{n}': True for n in range(5)})}, "{ a?: 1; [key: string]: unknown; }"),
        ({"required": ["a"], "additionalProperties": {"const": 1}}, "{ a: 1; [key: string]: unknown /* others: 1 */; }"),
        ({"patternProperties": {"^x-": {"type": "string"}}}, "Record<string, string> /* names match ^x- */"),
        ({"patternProperties": {"^x": {"const": 1}}, "additionalProperties": {"const": 2}}, "Record<string, 1 | 2> /* names match ^x */"),
        ({"patternProperties": {"^x": {"const": 1}}, "properties": {"a": True}},
         "{ a?: unknown; [key: string]: unknown /* others: 1; names match ^x */; }"),
        ({"additionalProperties": {"const": 1}, "propertyNames": {"enum": ["a", "b"]}}, 'Record<string, 1> /* names: "a" | "b" */'),
        ({"additionalProperties": {"const": 1}, "propertyNames": {"maxLength": 3}}, "Record<string, 1> /* names: length <= 3 */"),
        ({"type": ["object", "array", "null"], "items": {"const": 1}, "required": ["a"]}, "{ a: unknown; } | 1[] | null"),
        # Combinations
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string | null"), ({"anyOf": [{"const": 1}]}, "1"),
        ({"oneOf": [{"type": "string"}, False, {"type": "string"}]}, "string"), ({"oneOf": [False]}, "never"),
        ({"anyOf": [{"type": "string"}, {}]}, "unknown"), ({"anyOf": []}, "unknown"),
        ({"anyOf": [{"anyOf": [{"const": 1}, {"const": 2}]}, {"const": 3}]}, "1 | 2 | 3"),
        ({"allOf": [obj(a=True), obj(b=True)]}, "{ a: unknown; } & { b: unknown; }"),
        ({"allOf": [{"type": "string"}, {"maxLength": 3}, {"maxLength": 3}]}, "string /* length <= 3; length <= 3 */"),
        ({"allOf": [{"type": "string"}, {"type": "string"}]}, "string"),
        ({"properties": {"a": {"const": 1}}, "anyOf": [{"required": ["b"]}, {"required": ["c"]}]},
         "{ a?: 1; } & ({ b: unknown; } | { c: unknown; })"),
        ({"type": "object", "oneOf": [obj(a=True), obj(b=True)]}, "{ a: unknown; } | { b: unknown; }"),
        ({"type": "string", "anyOf": [{"const": "a"}, {"minLength": 3}]}, '"a" | string /* length >= 3 */'),
        ({"type": "string", "anyOf": [{"format": "a"}, {"format": "b"}]}, "string /* a */ | string /* b */"),
        ({"type": "string", "allOf": [{"pattern": "x"}]}, "string /* matches x */"),
        ({"type": ["object", "null"], "anyOf": [{"required": ["a"]}]}, "{ a: unknown; } | null"),
        ({"anyOf": [{"const": 1}], "oneOf": [{"const": 2}], "allOf": [{"const": 3}]}, "3 & 1 & 2"),
        ({"not": {"type": "string"}, "if": {}, "then": False, "else": False}, "unknown"),
        ({"type": "string", "not": {"const": ""}, "dependentRequired": {"a": ["b"]}}, "string"),
        # References
        ({"$defs": {"a": {"const": 1}}, "$ref": "#/$defs/a"}, "1"), ({"definitions": {"a": {"const": 1}}, "$ref": "#/definitions/a"}, "1"),
        ({"$defs": {"a/b ~": {"const": 1}}, "$ref": "#/$defs/a~1b%20~0"}, "1"),
        ({"x": [{"const": 0}, {"const": 1}], "$ref": "#/x/1"}, "1"), ({"x": [1], "$ref": "#/x/1"}, "unknown /* 1 */"),
        ({"x": [1], "$ref": "#/x/01"}, "unknown /* 01 */"), ({"$ref": "other.json#/a/b"}, "unknown /* b */"),
        ({"$ref": "#/$defs/none"}, "unknown /* none */"), ({"$ref": "#anchor"}, "unknown /* #anchor */"), ({"$ref": ""}, "unknown /*  */"),
        ({"$ref": "#"}, "unknown /* recursive: the whole */"), ({"$ref": 5}, "unknown"), ({"x": 5, "$ref": "#/x"}, "unknown"),
        ({"$defs": {"a": {"const": 1}}, "$ref": "#/$defs/a", "nullable": True}, "1 | null"),
        ({"$defs": {"a": obj(a=True)}, "$ref": "#/$defs/a", "required": ["b"]}, "{ a: unknown; } & { b: unknown; }"),
        ({"$defs": {"a": {"type": "string", "description": "A name"}}, "$ref": "#/$defs/a"}, "string /* A name */"),
        ({"$defs": {"Node": NODE}, "$ref": "#/$defs/Node"}, "{ value: string; next?: unknown /* recursive: Node */; }"),
        ({"$defs": {"a": {"items": {"$ref": "#/$defs/b"}}, "b": {"items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"},
         "Array<unknown /* recursive: a */>[]"),
        # Notes
        ({"type": "string", "format": "date-time", "pattern": "^\\d+$", "minLength": 1, "maxLength": 9},
         "string /* date-time; matches ^\\d+$; length 1..9 */"),
        ({"type": "string", "pattern": "x" * 200}, "string"), ({"type": "string", "contentEncoding": "base64"}, "string /* base64 */"),
        ({"type": "integer", "minimum": 1, "maximum": 10, "multipleOf": 2, "default": 4},
         "number /* integer; 1..10; multiple of 2; default 4 */"),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1.5}, "number /* > 0; < 1.5 */"),
        ({"type": "number", "minimum": 0, "exclusiveMinimum": True}, "number /* >= 0 */"), ({"minItems": 2, "maxItems": 2}, "unknown /* items 2 */"),
        ({"type": "array", "uniqueItems": True, "minItems": 2}, "unknown[] /* items >= 2; unique */"),
        ({"type": "object", "maxProperties": 3}, "Record<string, unknown> /* properties <= 3 */"),
        ({"type": "string", "default": None}, "string"), ({"type": "string", "default": "x" * 100}, "string"),
        ({"type": "string", "default": "*/"}, 'string /* default "*\\/" */'), ({"type": "string", "deprecated": True}, "string /* deprecated */"),
        ({"type": "string", "examples": ["a", "b"]}, 'string /* e.g. "a" */'), ({"type": "string", "examples": []}, "string"),
        ({"type": "string", "format": "*/ x\n\u2028y"}, "string /* *\\/ x y */"), ({"type": "string", "format": 5}, "string"),
        ({"type": "string", "description": " One\n two "}, "string /* One two */"),
        ({"anyOf": [{"const": 1, "description": "one"}, {"const": 2}], "default": 1}, "1 /* one */ | 2 /* default 1 */"),
        ({"items": {"anyOf": [{"const": 1}, {"const": 2}], "default": 1}}, "Array<1 | 2 /* default 1 */>"),
        ({"anyOf": [{"enum": ["a", "b"], "description": "d"}, {"const": 1}]}, '"a" | "b" /* d */ | 1'),
        ({"anyOf": [{"enum": [1, 2], "default": 1}, {"type": "null"}]}, "1 | 2 /* default 1 */ | null"),
    ],
)  # fmt: skip
def test_a_schema_is_this_type(schema: Json, type_: str) -> None:
    assert schema_type(schema) == type_


def test_properties_with_descriptions_have_lines_of_their_own() -> None:
    inner = {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "Which\r\n\r\n  city */ it is"}},
    }
    schema = {"type": "object", "description": "The whole.", "properties": {"where": inner, "all": {"items": inner}}}
    assert schema_type(schema).splitlines() == [
        "/* The whole. */ {",
        "  where?: {",
        "    /**",
        "     * Which",
        "     *",
        "     *   city *\\/ it is",
        "     */",
        "    city?: string;",
        "  };",
        "  all?: Array<{",
        "    /**",
        "     * Which",
        "     *",
        "     *   city *\\/ it is",
        "     */",
        "    city?: string;",
        "  }>;",
        "}",
    ]


def test_a_property_has_the_description_of_what_it_refers_to_unless_it_has_its_own() -> None:
    schema = {
        "$defs": {"City": {"type": "string", "description": "A city."}},
        **obj(start={"$ref": "#/$defs/City"}, end={"$ref": "#/$defs/City", "description": "Where to."}),
    }
    assert schema_type(schema).splitlines() == [
        "{",
        "  /** A city. */",
        "  start: string;",
        "  /** Where to. */",
        "  end: string;",
        "}",
    ]


def test_long_tuples_and_objects_are_broken_into_lines() -> None:
    schema = {"prefixItems": [{"const": "x" * 60}, {"const": "y" * 60}], "items": False, "minItems": 2}
    assert schema_type(schema).splitlines() == ["[", f'  "{"x" * 60}",', f'  "{"y" * 60}"', "] /* items >= 2 */"]
    schema = obj(first={"const": "x" * 60}, second={"const": "y" * 60})
    assert schema_type(schema).splitlines() == ["{", f'  first: "{"x" * 60}";', f'  second: "{"y" * 60}";', "}"]


def test_an_enum_with_very_many_values_is_its_type_with_some_of_them() -> None:
    values = [f"v{index}" for index in range(1000)]
    assert schema_type({"enum": values}) == 'string /* one of 1000 values: "v0", "v1", "v2", … */'
    assert schema_type({"enum": ["x" * 99, None, *values]}) == 'string | null /* one of 1002 values: null, "v0", … */'


def nested(depth: int) -> Json:
    schema: Json = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


def test_deep_nesting_ends_in_unknown() -> None:
    assert schema_type(nested(typescript_schemas.MAX_DEPTH)).startswith("string[]")
    assert "unknown /* too much to show */" in schema_type(nested(typescript_schemas.MAX_DEPTH + 1))
    assert "unknown" in schema_type(nested(100_000))
    value: Json = 1
    for _ in range(100_000):
        value = [value]
    assert "unknown" in schema_type({"const": value, "default": value})


def test_references_that_multiply_end_in_unknown() -> None:
    definitions = {
        f"d{index}": {"type": "array", "prefixItems": [{"$ref": f"#/$defs/d{index + 1}"}] * 10} for index in range(20)
    }
    text = schema_type({"$defs": definitions, "$ref": "#/$defs/d0"})
    assert "too much to show" in text
    assert len(text) < 10 * typescript_schemas.MAX_CHARACTERS


def test_long_words_count_too() -> None:
    long = "x" * typescript_schemas.MAX_CHARACTERS
    assert schema_type({"enum": [long]}) == "string"
    assert schema_type({"enum": [[long, "a"]]}) == "[string, unknown]"
    described = obj(a={"description": long, "type": "object", "properties": {"b": {"type": "string"}}}, c={"const": 1})
    assert "b?: unknown /* too much to show */" in schema_type(described)
    assert "c: unknown /* too much to show */" in schema_type(described)
    assert "unknown /* too much to show */" in schema_type(obj(**{long: {"const": 1}}))


def test_a_number_that_python_does_not_print_is_left_out() -> None:
    huge = 10**5000
    assert schema_type({"type": "number", "minimum": huge, "default": huge}) == "number"
    assert schema_type({"const": huge}) == "number"


def test_a_property_whose_name_is_no_text_is_left_out() -> None:
    assert schema_type({"properties": {1: {"type": "string"}, "a": {"type": "string"}}}) == "{ a?: string; }"


def test_a_value_that_holds_itself_ends_too() -> None:
    schema: dict[str, Json] = {"type": "array"}
    schema["items"] = schema
    assert "too much to show" in schema_type(schema)
    value: list[Json] = []
    value.append(value)
    assert "unknown" in schema_type({"const": value, "default": value})


@given(malformed)
@example({"properties": {1: {}, "a": 5}, "required": [[], 1, "b"]})
@example({"type": [["string"], None, 5], "enum": {"a": 1}, "anyOf": [5, "x", None], "allOf": "x"})
@example({"items": 5, "minItems": True, "prefixItems": "x", "additionalProperties": "yes", "patternProperties": []})
@example({"prefixItems": [{}], "minItems": float("nan"), "maxItems": float("inf"), "items": "x"})
@example({"description": 5, "default": b"", "minimum": 10**400, "multipleOf": float("nan"), "$ref": []})
@example({"$defs": [], "$ref": "#/$defs/-1", "nullable": 1, "propertyNames": True, "const": {1: object()}})
def test_whatever_a_schema_is_it_never_raises(schema: Json) -> None:
    text = schema_type(schema)
    text.encode()
    assert not re.search("[\0\r\u2028\u2029]", text)


def spoken(text: str) -> str:
    """What is left of a type without its comments, which do not nest, and its string literals."""
    return re.sub(r'"(?:[^"\\]|\\.)*"|/\*.*?\*/', "", text, flags=re.DOTALL)


@given(samples())
@settings(max_examples=50)
def test_brackets_match_once_comments_and_literals_are_gone(sample: Sample) -> None:
    text = spoken(schema_type(sample.schema))
    for opening, closing in ("{}", "[]", "()", "<>"):
        assert text.count(opening) == text.count(closing)
    assert "/*" not in text
    assert "*/" not in text
    assert '"' not in text


# Text


@given(texts)
def test_a_comment_ends_where_it_should(text: str) -> None:
    for comment in (inline_comment(text), doc_comment(text) or "/** */"):
        comment.encode()
        assert comment.find("*/") == len(comment) - 2
        assert "@ts-" not in comment
    assert "\n" not in inline_comment(text)
    assert not re.search("[\r\u2028\u2029]", inline_comment(text) + doc_comment(text))


@given(texts)
def test_a_string_literal_says_what_it_should_on_one_line(text: str) -> None:
    literal = string_literal(text)
    assert literal.isprintable()
    assert len(literal.splitlines()) == 1
    assert json.loads(re.sub(r"\\u\{(\w+)\}", lambda found: chr(int(found[1], 16)), literal)) == text


def test_a_blank_comment_is_none() -> None:
    assert doc_comment(" \n ") == ""


def test_numbers_are_written_exactly_or_not_at_all() -> None:
    assert [number_literal(value) for value in (0, -0.0, 1e15, 2**53, 2**53 + 1, 0.1, -1e-7, float("nan"))] == [
        *("0", "0", "1000000000000000", "9007199254740992", "number", "0.1", "-1e-07", "number"),
    ]


def test_a_snippet_is_short_json_or_nothing() -> None:
    assert snippet({"a": ["é"]}) == '{"a": ["é"]}'
    assert snippet("x" * 100) is None
    assert snippet(object()) is None
    assert snippet(10**5000) is None


# Tools


@pytest.mark.parametrize(
    ("schema", "parameter"),
    [
        (None, "args?: unknown"), (True, "args: unknown"), (5, "args: unknown"), ([], "args: unknown"),
        (obj(a={"const": 1}), "args: { a: 1; }"), ({"type": "object", "properties": {"a": {"const": 1}}}, "args?: { a?: 1; }"),
        (obj(), ""), ({"type": "object", "properties": {}, "additionalProperties": False}, ""),
        ({"type": "object", "properties": {}, "additionalProperties": True}, "args?: Record<string, unknown>"),
        ({"type": "object", "properties": {}, "required": ["a"]}, "args: { a: unknown; }"),
        ({"type": "object"}, "args?: Record<string, unknown>"), ({"type": "string"}, "args: string"),
        ({"type": "object", "properties": {"a": {"const": 1}}, "anyOf": [{"required": ["a"]}]}, "args: { a?: 1; } & { a: unknown; }"),
        ({"type": "object", "minProperties": 1}, "args: Record<string, unknown> /* properties >= 1 */"),
        ({"$ref": "#/$defs/A", "$defs": {"A": obj(a=True)}}, "args: { a: unknown; }"),
    ],
)  # fmt: skip
def test_arguments_may_be_left_out_only_when_none_is_required(schema: Json, parameter: str) -> None:
    assert tool_signature(tool(schema)) == f"do({parameter}): Promise<unknown>;"


def test_a_freeform_tool_takes_text_whatever_its_schema_says() -> None:
    free = tool(obj(a=True), {"type": "string"}, kind=ToolKind.FREEFORM, description="Say it.")
    assert tool_declaration(free) == "/** Say it. */\ndo(input: string): Promise<string>;"


@pytest.mark.parametrize(
    ("name", "shown"), [("read-file", "read_file"), ("new", '"new"'), ("class", "class"), ("a.b", "a_b"), ("", "_")]
)
def test_a_tool_has_the_name_that_javascript_calls_it_by(name: str, shown: str) -> None:
    assert tool_signature(tool(obj(), name=name)) == f"{shown}(): Promise<unknown>;"


def test_a_description_stands_above_as_a_comment() -> None:
    assert tool_declaration(tool(obj(), description="Two\nlines */")) == (
        "/**\n * Two\n * lines *\\/\n */\ndo(): Promise<unknown>;"
    )
    assert tool_declaration(tool(obj())) == "do(): Promise<unknown>;"


@pytest.mark.parametrize("schema", [b"", b"nul", b'"\xff"', b"[" * 100_000, b"1" * 5000])
def test_a_schema_that_is_no_json_is_none(schema: bytes) -> None:
    broken = msgspec.structs.replace(tool(), input_schema=Raw(schema), output_schema=Raw(schema))
    assert tool_signature(broken) in ("do(args?: unknown): Promise<unknown>;", "do(args: unknown): Promise<unknown>;")


def test_a_schema_may_hold_half_a_character() -> None:
    half = msgspec.structs.replace(tool(), output_schema=Raw(b'{"const":"\\ud800"}'))
    assert tool_signature(half) == 'do(args?: unknown): Promise<"\\ud800">;'


def test_what_a_tool_of_an_mcp_server_returns_is_known_by_its_form() -> None:
    structured = {"$defs": {"A": {"type": "string"}}, **obj(a={"$ref": "#/$defs/A"})}
    plain, typed = tool(output=call_tool_result_schema()), tool(output=call_tool_result_schema(structured))
    assert tool_signature(plain) == "do(args?: unknown): Promise<CallToolResult>;"
    assert tool_signature(typed) == "do(args?: unknown): Promise<CallToolResult<{ a: string; }>>;"
    assert uses_mcp_types([tool(), typed])
    assert not uses_mcp_types([tool(), tool(output=obj(content=True)), tool(output={"properties": []})])
    assert not uses_mcp_types([])


def test_descriptions_end_with_the_signature_once() -> None:
    tools = [tool(obj(), description="Does it."), tool(obj(), name="silent")]
    described = with_declarations(tools)
    assert [each.description for each in described] == [
        "Does it.\n\ndo(): Promise<unknown>;",
        "silent(): Promise<unknown>;",
    ]
    assert with_declarations(described) == described
    assert [tool_declaration(each) for each in described] == [tool_declaration(each) for each in tools]


def test_declarations_are_one_file_with_types_globals_tools_and_modules() -> None:
    text = declarations([tool(obj(), description="Does it."), tool(obj(), name="other")])
    assert text.startswith(MCP_TYPES)
    assert text.endswith("}\n")
    assert (
        "declare var tools: {\n  /** Does it. */\n  do(): Promise<unknown>;\n\n  other(): Promise<unknown>;\n};" in text
    )
    assert "declare var tools: {};" in declarations([])
    assert not re.search(r"[ \t]$", text, flags=re.MULTILINE)
