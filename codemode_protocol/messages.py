"""Every message of V1, as frozen tagged Structs, and one typed decoder per direction.

Unknown fields, unknown variants and missing fields are decoding errors; so are blank identifiers, numbers out of
range and duplicate entries of a list that stands for a set. Field names and their order are the wire's; a reader
takes them in any order. Of a field that comes twice the last one counts (the reference host refuses it; msgspec
does not see it).
"""

from __future__ import annotations

from typing import Annotated, Generic, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from codemode_protocol.ids import MAX_ID, MIN_ID
from codemode_protocol.values import ExecuteRequest, OutcomeEnvelope, ResponseEnvelope, ToolInvocation, WaitRequest

PROTOCOL_VERSION = 1

Identifier = Annotated[str, Meta(pattern=r"[\S\x1c-\x1f]")]
"""A session's id or a capability: any text that is not blank. (The four separators are blank to Python alone.)"""

Number = Annotated[int, Meta(ge=MIN_ID, le=MAX_ID)]
"""The id of a request or of a delegate call: a signed 64-bit integer."""

Version = Annotated[int, Meta(ge=1, le=2**32 - 1)]


def _require_distinct(what: str, entries: list[str] | list[int]) -> None:
    seen: set[str | int] = set()
    for entry in entries:
        if entry in seen:
            raise ValueError(f"duplicate {what} {entry!r}")
        seen.add(entry)


# ---------------------------------------------------------------------------------------------------------- handshake


class Hello(Struct, frozen=True, forbid_unknown_fields=True, tag="connection/hello", tag_field="type", rename="camel"):
    """The client's first message: the versions it speaks and the capabilities it needs or would like."""

    supported_versions: Annotated[list[Version], Meta(min_length=1)]
    required_capabilities: list[Identifier]
    optional_capabilities: list[Identifier]

    def __post_init__(self) -> None:
        _require_distinct("protocol version", self.supported_versions)
        _require_distinct("capability", self.required_capabilities)
        _require_distinct("capability", self.optional_capabilities)
        both = set(self.required_capabilities).intersection(self.optional_capabilities)
        if both:
            raise ValueError(f"capability {min(both)!r} cannot be both required and optional")


class Ready(Struct, frozen=True, forbid_unknown_fields=True, tag="connection/ready", tag_field="type", rename="camel"):
    """The host's answer: the version to speak, and which of the asked capabilities it has."""

    selected_version: Version
    capabilities: list[Identifier]

    def __post_init__(self) -> None:
        _require_distinct("capability", self.capabilities)


class NoCompatibleVersion(
    Struct, frozen=True, forbid_unknown_fields=True, tag="noCompatibleVersion", tag_field="type", rename="camel"
):
    supported_versions: list[Version]


class MissingRequiredCapability(
    Struct, frozen=True, forbid_unknown_fields=True, tag="missingRequiredCapability", tag_field="type"
):
    capability: str


class InvalidHello(Struct, frozen=True, forbid_unknown_fields=True, tag="invalidHello", tag_field="type"):
    message: str


RejectionReason = NoCompatibleVersion | MissingRequiredCapability | InvalidHello


class Rejected(Struct, frozen=True, forbid_unknown_fields=True, tag="connection/rejected", tag_field="type"):
    """The host's refusal; the host ends after it, with status 0."""

    reason: RejectionReason


# ----------------------------------------------------------------------------------------------------------- requests


class OpenSession(
    Struct, frozen=True, forbid_unknown_fields=True, tag="session/open", tag_field="method", rename="camel"
):
    session_id: Identifier


class Execute(
    Struct, frozen=True, forbid_unknown_fields=True, tag="session/execute", tag_field="method", rename="camel"
):
    session_id: Identifier
    request: ExecuteRequest


class Wait(Struct, frozen=True, forbid_unknown_fields=True, tag="session/wait", tag_field="method", rename="camel"):
    session_id: Identifier
    request: WaitRequest


class Terminate(
    Struct, frozen=True, forbid_unknown_fields=True, tag="session/terminate", tag_field="method", rename="camel"
):
    session_id: Identifier
    cell_id: str


class ShutdownSession(
    Struct, frozen=True, forbid_unknown_fields=True, tag="session/shutdown", tag_field="method", rename="camel"
):
    session_id: Identifier


Request = OpenSession | Execute | Wait | Terminate | ShutdownSession


# ------------------------------------------------------------------------------------------------------------ results

T = TypeVar("T")


class Success(Struct, Generic[T], frozen=True, forbid_unknown_fields=True, tag="ok", tag_field="status"):
    value: T


class Failure(Struct, frozen=True, forbid_unknown_fields=True, tag="error", tag_field="status"):
    message: str


class SessionReady(
    Struct, frozen=True, forbid_unknown_fields=True, tag="session/ready", tag_field="type", rename="camel"
):
    session_id: Identifier


class ExecutionStarted(
    Struct, frozen=True, forbid_unknown_fields=True, tag="execution/started", tag_field="type", rename="camel"
):
    cell_id: str


class WaitCompleted(
    Struct, frozen=True, forbid_unknown_fields=True, tag="wait/completed", tag_field="type", rename="camel"
):
    outcome: OutcomeEnvelope


class SessionClosed(
    Struct, frozen=True, forbid_unknown_fields=True, tag="session/closed", tag_field="type", rename="camel"
):
    session_id: Identifier


OperationValue = SessionReady | ExecutionStarted | WaitCompleted | SessionClosed


class ToolResult(Struct, frozen=True, forbid_unknown_fields=True, tag="tool/result", tag_field="type"):
    """What a tool gave back: any JSON."""

    result: Raw


class NotificationDelivered(Struct, frozen=True, tag="notification/delivered", tag_field="type"):
    """A notification has arrived. The one message that may have unknown fields, as on the reference host."""


DelegateValue = ToolResult | NotificationDelivered


# --------------------------------------------------------------------------------------------- calls out to the client


class InvokeTool(Struct, frozen=True, forbid_unknown_fields=True, tag="tool/invoke", tag_field="type"):
    invocation: ToolInvocation


class SendNotification(
    Struct, frozen=True, forbid_unknown_fields=True, tag="notification/send", tag_field="type", rename="camel"
):
    """`call_id` is the `tool_call_id` of the execute that started the cell."""

    call_id: str
    cell_id: str
    text: str


DelegateCall = InvokeTool | SendNotification


# ---------------------------------------------------------------------------------------------------- client to host


class OperationRequest(Struct, frozen=True, forbid_unknown_fields=True, tag="operation/request", tag_field="type"):
    id: Number
    request: Request


class OperationCancel(Struct, frozen=True, forbid_unknown_fields=True, tag="operation/cancel", tag_field="type"):
    id: Number


class DelegateResponse(Struct, frozen=True, forbid_unknown_fields=True, tag="delegate/response", tag_field="type"):
    id: Number
    result: Success[DelegateValue] | Failure


ClientMessage = Hello | OperationRequest | OperationCancel | DelegateResponse


# ---------------------------------------------------------------------------------------------------- host to client


class OperationResponse(Struct, frozen=True, forbid_unknown_fields=True, tag="operation/response", tag_field="type"):
    id: Number
    result: Success[OperationValue] | Failure


class InitialResponse(Struct, frozen=True, forbid_unknown_fields=True, tag="execute/initialResponse", tag_field="type"):
    id: Number
    result: Success[ResponseEnvelope] | Failure


class DelegateRequest(
    Struct, frozen=True, forbid_unknown_fields=True, tag="delegate/request", tag_field="type", rename="camel"
):
    id: Number
    session_id: Identifier
    request: DelegateCall


class DelegateCancel(Struct, frozen=True, forbid_unknown_fields=True, tag="delegate/cancel", tag_field="type"):
    id: Number


class CellClosed(Struct, frozen=True, forbid_unknown_fields=True, tag="cell/closed", tag_field="type", rename="camel"):
    session_id: Identifier
    cell_id: str


HostMessage = Ready | Rejected | OperationResponse | InitialResponse | DelegateRequest | DelegateCancel | CellClosed

Message = ClientMessage | HostMessage

client_message_decoder: msgspec.json.Decoder[ClientMessage] = msgspec.json.Decoder(ClientMessage)
"""Decodes what a host receives."""

host_message_decoder: msgspec.json.Decoder[HostMessage] = msgspec.json.Decoder(HostMessage)
"""Decodes what a client receives."""


def tag_of(message: object) -> str:
    """Return what a message is called on the wire."""
    config: msgspec.structs.StructConfig = message.__struct_config__  # type: ignore[attr-defined]
    return str(config.tag)
