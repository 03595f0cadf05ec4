"""The values that messages carry: tools, what a cell wrote, and how a cell stands.

Field names and their order are the wire's. JSON that only passes through (a tool's input, its result, the schemas of a
tool) stays `msgspec.Raw`, so that neither side pays for decoding what it does not look at.
"""

from __future__ import annotations

from enum import Enum
from typing import Self

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from codemode_protocol.errors import ScriptError

DEFAULT_YIELD_TIME_MS = 10_000
"""How long an execute or a wait observes its cell when the request says null, in milliseconds."""

LONGER_MS = 1_000
"""An observation of `DEFAULT_YIELD_TIME_MS` or more goes on for so much longer, as on the reference host: a tool that
takes just as long then brings a result, and not first a yield.
"""

MAX_YIELD_TIME_MS = 2**64 - 1

DEFAULT_MAX_OUTPUT_TOKENS = 10_000
"""The output budget that a null `max_output_tokens` stands for. The host hands it on; who formats the output
applies it.
"""


MAX_OUTPUT_TOKENS = 2**31 - 1
"""The largest `max_output_tokens` that the wire carries."""


NAMESPACE_SEPARATOR = "__"
"""Stands between a tool's namespace and its name where both are written as one."""


def observation_ms(yield_time_ms: int | None) -> int:
    """Return for how long a host observes a cell, in milliseconds, that is asked to for `yield_time_ms`."""
    asked = DEFAULT_YIELD_TIME_MS if yield_time_ms is None else yield_time_ms
    return asked + LONGER_MS if asked >= DEFAULT_YIELD_TIME_MS else asked


class ToolKind(Enum):
    """How a tool takes its input: a JSON object by its schema, or free text."""

    FUNCTION = "function"
    FREEFORM = "freeform"


class ToolName(Struct, frozen=True, forbid_unknown_fields=True):
    """A tool's canonical name, the one that a nested call carries."""

    name: str
    namespace: str | None = None

    @property
    def qualified(self) -> str:
        """The name and its namespace as one word, `NAMESPACE__NAME`: how scripts, logs and messages name the tool."""
        return self.name if self.namespace is None else f"{self.namespace}{NAMESPACE_SEPARATOR}{self.name}"


class ToolDefinition(Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of `enabled_tools`.

    `name` is what JavaScript sees once it has been normalised to an identifier; the schemas are JSON Schema or null and
    pass through untouched.
    """

    name: str
    tool_name: ToolName
    description: str
    kind: ToolKind
    input_schema: Raw = Raw(b"null")
    output_schema: Raw = Raw(b"null")


class ImageDetail(Enum):
    """How closely a model should look at an image."""

    AUTO = "auto"
    LOW = "low"
    HIGH = "high"
    ORIGINAL = "original"


class InputText(Struct, frozen=True, tag="input_text", tag_field="type", forbid_unknown_fields=True):
    """A piece of text that a cell wrote."""

    text: str


class InputImage(Struct, frozen=True, tag="input_image", tag_field="type", forbid_unknown_fields=True):
    """An image that a cell wrote, as a `data:` URL; `detail` is left out of the wire form when there is none."""

    image_url: str
    detail: ImageDetail | UnsetType = UNSET


class InputAudio(Struct, frozen=True, tag="input_audio", tag_field="type", forbid_unknown_fields=True):
    """A sound that a cell wrote, as a `data:` URL. The reference host has it; protocol V1's page does not name it."""

    audio_url: str


ContentItem = InputText | InputImage | InputAudio


def _joined_texts(items: list[ContentItem]) -> str:
    return "\n".join(item.text for item in items if isinstance(item, InputText))


class Yielded(Struct, frozen=True, forbid_unknown_fields=True):
    """The cell goes on; `content_items` is what it wrote since the last answer."""

    cell_id: str
    content_items: list[ContentItem]
    code_mode_host_duration_ns: int | UnsetType = UNSET

    @property
    def text(self) -> str:
        """All texts among the content, each on lines of its own."""
        return _joined_texts(self.content_items)


class Terminated(Struct, frozen=True, forbid_unknown_fields=True):
    """The cell was stopped; its runtime is gone."""

    cell_id: str
    content_items: list[ContentItem]
    code_mode_host_duration_ns: int | UnsetType = UNSET

    @property
    def text(self) -> str:
        """All texts among the content, each on lines of its own."""
        return _joined_texts(self.content_items)

    @property
    def ok(self) -> bool:
        """Whether the script succeeded: a script that was stopped did not."""
        return False

    @property
    def error_text(self) -> str:
        """Why the script did not succeed."""
        return "the script was terminated"

    def raise_for_error(self) -> None:
        """Raise that the script was stopped.

        Raises:
            ScriptError: Always.
        """
        raise ScriptError(self.error_text, self.cell_id)


class Result(Struct, frozen=True, forbid_unknown_fields=True):
    """The cell ended by itself; `error_text` is None when it succeeded."""

    cell_id: str
    content_items: list[ContentItem]
    error_text: str | None = None
    result_buffered_for_ns: int | UnsetType = UNSET
    code_mode_host_duration_ns: int | UnsetType = UNSET

    @property
    def text(self) -> str:
        """All texts among the content, each on lines of its own."""
        return _joined_texts(self.content_items)

    @property
    def ok(self) -> bool:
        """Whether the script succeeded."""
        return self.error_text is None

    def raise_for_error(self) -> None:
        """Raise what the script failed with, if it did not succeed.

        Raises:
            ScriptError: The script failed.
        """
        if self.error_text is not None:
            raise ScriptError(self.error_text, self.cell_id)


RuntimeResponse = Yielded | Terminated | Result


def _exactly_one(envelope: Struct) -> None:
    """Refuse an externally tagged value that names no variant, or several."""
    present = [name for name in envelope.__struct_fields__ if getattr(envelope, name) is not UNSET]
    if len(present) != 1:
        raise ValueError(f"expected exactly one of {', '.join(envelope.__struct_encode_fields__)}, got {len(present)}")


class ResponseEnvelope(Struct, frozen=True, forbid_unknown_fields=True, rename="pascal"):
    """The wire form of a runtime response: an object whose one key names the variant."""

    yielded: Yielded | UnsetType = UNSET
    terminated: Terminated | UnsetType = UNSET
    result: Result | UnsetType = UNSET

    def __post_init__(self) -> None:
        _exactly_one(self)

    @classmethod
    def of(cls, response: RuntimeResponse) -> Self:
        match response:
            case Yielded():
                return cls(yielded=response)
            case Terminated():
                return cls(terminated=response)
            case _:
                return cls(result=response)

    @property
    def response(self) -> RuntimeResponse:
        for variant in (self.yielded, self.terminated):
            if variant is not UNSET:
                return variant
        assert self.result is not UNSET
        return self.result


class LiveCell(Struct, frozen=True):
    """A wait or a terminate found its cell."""

    response: RuntimeResponse


class MissingCell(Struct, frozen=True):
    """A wait or a terminate named a cell that is not there; `response` says so in its `error_text`."""

    response: RuntimeResponse


Outcome = LiveCell | MissingCell


class OutcomeEnvelope(Struct, frozen=True, forbid_unknown_fields=True, rename="pascal"):
    """The wire form of an outcome."""

    live_cell: ResponseEnvelope | UnsetType = UNSET
    missing_cell: ResponseEnvelope | UnsetType = UNSET

    def __post_init__(self) -> None:
        _exactly_one(self)

    @classmethod
    def of(cls, outcome: Outcome) -> Self:
        envelope = ResponseEnvelope.of(outcome.response)
        return cls(live_cell=envelope) if isinstance(outcome, LiveCell) else cls(missing_cell=envelope)

    @property
    def outcome(self) -> Outcome:
        if self.live_cell is not UNSET:
            return LiveCell(self.live_cell.response)
        assert self.missing_cell is not UNSET
        return MissingCell(self.missing_cell.response)


def _require_range(field: str, value: int | None, low: int, high: int) -> None:
    if value is not None and not low <= value <= high:
        raise ValueError(f"{field} {value} is not in {low}..{high}")


class ExecuteRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """What to run.

    `yield_time_ms` (milliseconds, 64 bits unsigned) is how long the initial response may take before it answers
    `Yielded`; null stands for `DEFAULT_YIELD_TIME_MS`. `max_output_tokens` (32 bits signed, and a host refuses a
    negative one) null stands for `DEFAULT_MAX_OUTPUT_TOKENS`. ValueError when one is out of range.
    """

    tool_call_id: str
    enabled_tools: list[ToolDefinition]
    source: str
    yield_time_ms: int | None = None
    max_output_tokens: int | None = None

    def __post_init__(self) -> None:
        _require_range("yield_time_ms", self.yield_time_ms, 0, MAX_YIELD_TIME_MS)
        _require_range("max_output_tokens", self.max_output_tokens, -MAX_OUTPUT_TOKENS - 1, MAX_OUTPUT_TOKENS)


class WaitRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Which cell to observe, and for how many milliseconds (64 bits unsigned) before it answers `Yielded`.

    ValueError when the time is out of range.
    """

    cell_id: str
    yield_time_ms: int

    def __post_init__(self) -> None:
        _require_range("yield_time_ms", self.yield_time_ms, 0, MAX_YIELD_TIME_MS)


class ToolInvocation(Struct, frozen=True, forbid_unknown_fields=True):
    """A nested tool call: who calls, which tool, and with what.

    `runtime_tool_call_id` says which call it is within its cell: `tool-1`, `tool-2`, …
    """

    cell_id: str
    runtime_tool_call_id: str
    tool_name: ToolName
    tool_kind: ToolKind
    input: Raw = msgspec.field(default_factory=lambda: Raw(b"null"))
