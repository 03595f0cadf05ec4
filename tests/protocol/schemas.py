"""Generated JSON Schemas, each with values that it takes; and schemas that nobody should have written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

Schema = Any
Json = Any


# Marks a schema whose author leaves out that it is about objects. A validator would let everything else pass there.
_UNSAID = "x-unsaid"


class Sample(NamedTuple):
    """A schema and values for it; `valid` leaves those that a validator takes."""

    schema: Schema
    values: list[Json]

    def valid(self) -> Sample:
        validator = Draft202012Validator(self.schema)
        return Sample(_as_written(self.schema), [value for value in self.values if validator.is_valid(value)])


def _as_written(schema: Json) -> Json:
    if isinstance(schema, list):
        return [_as_written(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    left_out = {_UNSAID, "type"} if schema.get(_UNSAID) else {_UNSAID}
    return {keyword: _as_written(value) for keyword, value in schema.items() if keyword not in left_out}


NAMES = (
    # Not "constructor": to TypeScript even an empty object has one, a function.
    *("a", "b", "id", "name", "$ref", "class", "new", "__proto__", "get", "readonly", "a-b", "x y", "0", "1e3"),
    *("", '"', "'", "\\", "\n", "\u2028", "*/", "//", "`", "${x}", "ключ", "名", "😀", "[key: string]", "a?", "\ud800"),
)  # fmt: skip
names = st.sampled_from(NAMES)
texts = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["*/", "/*", "/**/", "src/**/*.py", "two\nlines", "a\u2028b\u2029c\x85d\re", "@ts-expect-error"]),
    st.sampled_from(["// @ts-ignore", "`${'", '"', "\\", "</script>", "\ufeff", "\ud800", "\x00", "\u202e", "  "]),
)
numbers = st.integers(-(10**6), 10**6) | st.floats(-1e9, 1e9) | st.sampled_from([0, -0.0, 2**60, 1e300, 5e-324])
scalars = st.none() | st.booleans() | numbers | texts
literals: st.SearchStrategy[Json] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)

_REMARKS: dict[str, st.SearchStrategy[Json]] = {
    "description": texts,
    "title": texts,
    "default": literals,
    "examples": st.lists(literals, max_size=2),
    "format": st.sampled_from(["date-time", "uri", "*/", "int64"]),
    "deprecated": st.booleans(),
    "$comment": texts,
    "not": st.just({"const": "what nobody says"}),
    "if": st.just({"type": "string"}),
    "then": st.just({"maxLength": 20}),
    "dependentRequired": st.just({"nothing": ["a"]}),
}
_BOUNDS: dict[str, st.SearchStrategy[Json]] = {
    "minimum": st.integers(-(10**6), 0),
    "maximum": st.integers(0, 10**6),
    "exclusiveMinimum": st.just(-1e10),
    "multipleOf": st.just(0.5),
    "minLength": st.integers(0, 2),
    "maxLength": st.integers(4, 9),
    "pattern": st.sampled_from(["", "^.*$", "/*/|x"]),
    "contentEncoding": st.just("base64"),
}


@st.composite
def _plain(draw: st.DrawFn) -> Sample:
    """One or several types by name."""
    values: dict[str, st.SearchStrategy[Json]] = {
        "string": texts,
        "integer": st.integers(-(10**6), 10**6),
        "number": numbers,
        "boolean": st.booleans(),
        "null": st.none(),
        "object": st.dictionaries(names, literals, max_size=2),
        "array": st.lists(literals, max_size=2),
    }
    types = draw(st.lists(st.sampled_from(sorted(values)), min_size=1, max_size=3, unique=True))
    schema: dict[str, Json] = {"type": types[0] if len(types) == 1 else types}
    for keyword in draw(st.lists(st.sampled_from(sorted(_BOUNDS)), max_size=2, unique=True)):
        schema[keyword] = draw(_BOUNDS[keyword])
    return Sample(schema, [draw(values[name]) for name in types])


@st.composite
def _exact(draw: st.DrawFn) -> Sample:
    """`const` and `enum`, with a type that fits or without."""
    values = draw(st.lists(literals, min_size=1, max_size=4))
    if draw(st.booleans()):
        return Sample({"const": values[0]}, values[:1])
    schema: dict[str, Json] = {"enum": values}
    if draw(st.booleans()):
        schema["type"] = draw(st.sampled_from(["string", "integer", "null", ["string", "null"], "object", "array"]))
    return Sample(schema, values)


@st.composite
def _anything(draw: st.DrawFn) -> Sample:
    schema = draw(st.sampled_from([True, {}, {"description": "anything"}, {"minimum": 0}]))
    return Sample(schema, [draw(literals)])


def _array(inner: st.SearchStrategy[Sample]) -> st.SearchStrategy[Sample]:
    @st.composite
    def array(draw: st.DrawFn) -> Sample:
        item = draw(inner)
        schema = {"type": "array", "items": item.schema}
        bounds = {"minItems": 0, "maxItems": 6, "uniqueItems": True}
        schema |= {keyword: bounds[keyword] for keyword in draw(st.lists(st.sampled_from(sorted(bounds)), max_size=2))}
        return Sample(schema, [[], item.values, item.values[:1]])

    @st.composite
    def tuples(draw: st.DrawFn) -> Sample:
        items = draw(st.lists(inner, min_size=1, max_size=3))
        rest = draw(inner)
        schema: dict[str, Json] = {"prefixItems": [item.schema for item in items], "type": "array"}
        full = [item.values[0] for item in items if item.values]
        values: list[Json] = [full, full[:-1], []]
        match draw(st.sampled_from(["closed", "open", "typed", "short"])):
            case "closed":
                schema["items"] = False
            case "typed":
                schema["items"] = rest.schema
                values.append(full + rest.values)
            case "open":
                values.append([*full, draw(literals)])
            case _:
                schema["maxItems"] = draw(st.integers(0, len(items)))
        if draw(st.booleans()):
            schema["minItems"] = draw(st.integers(0, len(items)))
        return Sample(schema, values)

    return array() | tuples()


def _object(inner: st.SearchStrategy[Sample]) -> st.SearchStrategy[Sample]:
    @st.composite
    def named(draw: st.DrawFn) -> Sample:
        properties = draw(st.dictionaries(names, inner, max_size=4))
        required = draw(st.lists(names, max_size=3, unique=True))
        schema: dict[str, Json] = {
            "type": "object",
            "properties": {name: value.schema for name, value in properties.items()},
            _UNSAID: draw(st.booleans()),
        }
        if required:
            schema["required"] = required
        full = {name: value.values[0] for name, value in properties.items() if value.values}
        for name in required:
            if name not in properties:
                full[name] = draw(literals)
        values: list[Json] = [full, {name: value for name, value in full.items() if name in required}]
        rest = draw(inner)
        extra = {f"extra-{index}": value for index, value in enumerate(rest.values)}
        match draw(st.sampled_from(["absent", "closed", "open", "typed", "patterns", "unevaluated"])):
            case "closed":
                schema["additionalProperties"] = False
            case "open":
                schema["additionalProperties"] = True
                values.append(full | {"extra": draw(literals)})
            case "typed":
                schema["additionalProperties"] = rest.schema
                values.append(full | extra)
            case "patterns":
                schema["patternProperties"] = {"^extra": rest.schema}
                schema["additionalProperties"] = draw(st.booleans())
                values.append(full | extra)
            case "unevaluated":
                schema["unevaluatedProperties"] = rest.schema
                values.append(full | extra)
            case _:
                pass
        return Sample(schema, values)

    @st.composite
    def maps(draw: st.DrawFn) -> Sample:
        item = draw(inner)
        schema = {"type": "object", "additionalProperties": item.schema}
        if draw(st.booleans()):
            schema["propertyNames"] = draw(
                st.sampled_from([{"enum": ["a", "b"]}, {"pattern": "/*/|."}, {"maxLength": 3}])
            )
        return Sample(schema, [{}, *({"a": value} for value in item.values)])

    return named() | maps()


def _combined(inner: st.SearchStrategy[Sample]) -> st.SearchStrategy[Sample]:
    @st.composite
    def alternatives(draw: st.DrawFn) -> Sample:
        members = draw(st.lists(inner, min_size=1, max_size=3))
        schema = {draw(st.sampled_from(["anyOf", "oneOf"])): [member.schema for member in members]}
        if draw(st.booleans()):
            schema["type"] = draw(st.sampled_from(["string", "object", ["array", "null", "number"]]))
        return Sample(schema, [value for member in members for value in member.values])

    @st.composite
    def beside(draw: st.DrawFn) -> Sample:
        """An object with properties of its own, beside alternatives, or beside others that it must be, too."""
        keyword = draw(st.sampled_from(["anyOf", "oneOf", "allOf"]))
        common, members = draw(inner), draw(st.lists(inner, min_size=1, max_size=3))
        schemas = [
            {"properties": {f"p{index}": member.schema}, "required": [f"p{index}"]}
            if draw(st.booleans())
            else {"required": [f"p{index}"]}
            for index, member in enumerate(members)
        ]
        schema = {"type": "object", "properties": {"common": common.schema}, keyword: schemas}
        each = [{f"p{index}": value} for index, member in enumerate(members) for value in member.values[:1]]
        if keyword == "allOf":
            each = [{name: value for one in each for name, value in one.items()}]
        head = {"common": common.values[0]} if common.values else {}
        return Sample(schema, [{**head, **value} for value in each])

    @st.composite
    def together(draw: st.DrawFn) -> Sample:
        sample = draw(inner)
        others = draw(st.lists(st.sampled_from([True, {}, {"maxLength": 9}, {"description": "more"}]), max_size=2))
        return Sample({"allOf": [sample.schema, *others]}, sample.values)

    return alternatives() | beside() | together()


_REFERENCES = (
    Sample({"$ref": "#/$defs/Point"}, [{"x": 1, "y": 2.5}]),
    Sample({"$ref": "#/$defs/Point", "description": "Where it is."}, [{"x": 0, "y": 0}]),
    Sample({"$ref": "#/$defs/Tree"}, [{"value": "root", "children": [{"value": "leaf"}]}]),
    Sample({"$ref": "#/$defs/List"}, [None, {"head": 1, "tail": {"head": 2, "tail": None}}]),
    Sample({"$ref": "#/$defs/odd~1name%20~0"}, ["x"]),
    Sample({"$ref": "#/$defs/Point/properties/x"}, [7]),
    Sample({"$ref": "#/$defs/Choice/anyOf/1"}, ["b"]),
)
_DEFINITIONS = {
    "Point": {
        "type": "object",
        "description": "A place */ on a plane.",
        "properties": {"x": {"type": "number"}, "y": {"type": "number"}},
        "required": ["x", "y"],
    },
    "Tree": {
        "type": "object",
        "properties": {"value": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}},
        "required": ["value"],
        "additionalProperties": False,
    },
    "List": {
        "anyOf": [
            {"type": "null"},
            {
                "type": "object",
                "properties": {"head": {"type": "integer"}, "tail": {"$ref": "#/$defs/List"}},
                "required": ["head", "tail"],
            },
        ]
    },
    "Choice": {"anyOf": [{"const": "a"}, {"const": "b"}]},
    "odd/name ~": {"type": "string"},
}


def _remarked(inner: st.SearchStrategy[Sample]) -> st.SearchStrategy[Sample]:
    @st.composite
    def remarked(draw: st.DrawFn) -> Sample:
        sample = draw(inner)
        if isinstance(sample.schema, bool) or draw(st.booleans()):
            return sample
        remarks = draw(st.lists(st.sampled_from(sorted(_REMARKS)), max_size=3, unique=True))
        return Sample({**sample.schema, **{keyword: draw(_REMARKS[keyword]) for keyword in remarks}}, sample.values)

    return remarked()


_leaves = _remarked(st.one_of(_plain(), _exact(), _anything(), st.sampled_from(_REFERENCES)))
_deep = st.recursive(
    _leaves,
    lambda inner: _remarked(st.one_of(_array(inner), _object(inner), _combined(inner))),
    max_leaves=10,
)


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    """A whole schema, with the definitions that it refers to, and values that a validator takes."""
    sample = draw(_deep)
    schema = {**sample.schema, "$defs": _DEFINITIONS} if isinstance(sample.schema, dict) else sample.schema
    return Sample(schema, sample.values).valid()


# Malformed: every keyword with anything.

_KEYWORDS = (
    *("type", "properties", "required", "additionalProperties", "patternProperties", "propertyNames", "items"),
    *("prefixItems", "additionalItems", "minItems", "maxItems", "anyOf", "oneOf", "allOf", "not", "$ref", "$defs"),
    *("definitions", "enum", "const", "nullable", "description", "format", "pattern", "minimum", "exclusiveMinimum"),
    *("default", "examples", "deprecated", "uniqueItems", "unevaluatedProperties", "multipleOf", "minLength"),
)
_WORDS = ("string", "object", "array", "integer", "null", "#", "#/", "#/type", "#/items/0", "#/$defs/a", "#/anyOf/1")


def _any_keys(inner: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    keyword: Callable[..., st.SearchStrategy[Json]] = st.sampled_from
    return st.lists(inner, max_size=3) | st.dictionaries(keyword(_KEYWORDS) | names, inner, max_size=5)


malformed: st.SearchStrategy[Json] = st.recursive(
    scalars | st.sampled_from(_WORDS) | st.sampled_from([float("nan"), float("inf"), 10**400, b"bytes", object(), 1j]),
    _any_keys,
    max_leaves=20,
)
