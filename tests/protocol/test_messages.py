from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given

from codemode_protocol import messages as m
from codemode_protocol import values as v
from codemode_protocol.messages import client_message_decoder, host_message_decoder, tag_of
from codemode_protocol.testing import strategies
from tests.protocol.wire import CLIENT_WIRE, HOST_WIRE


def wire_id(case: Any) -> str:
    return case.decode()[:60] if isinstance(case, bytes) else ""


@pytest.mark.parametrize(("message", "wire"), [*CLIENT_WIRE, *HOST_WIRE], ids=wire_id)
def test_a_message_has_the_reference_hosts_bytes(message: m.Message, wire: bytes) -> None:
    assert msgspec.json.encode(message) == wire


@pytest.mark.parametrize(("message", "wire"), CLIENT_WIRE, ids=wire_id)
def test_a_host_reads_what_a_client_says(message: m.ClientMessage, wire: bytes) -> None:
    assert client_message_decoder.decode(wire) == message
    with pytest.raises(msgspec.ValidationError, match="Invalid value"):
        host_message_decoder.decode(wire)


@pytest.mark.parametrize(("message", "wire"), HOST_WIRE, ids=wire_id)
def test_a_client_reads_what_a_host_says(message: m.HostMessage, wire: bytes) -> None:
    assert host_message_decoder.decode(wire) == message
    with pytest.raises(msgspec.ValidationError, match="Invalid value"):
        client_message_decoder.decode(wire)


def variants(kind: Any) -> set[type]:
    return set(kind.__args__)


def test_every_kind_of_message_has_a_pinned_wire_form() -> None:
    pinned = [message for message, _ in [*CLIENT_WIRE, *HOST_WIRE]]
    requests = [message.request for message in pinned if isinstance(message, m.OperationRequest)]
    values = [
        message.result.value
        for message in pinned
        if isinstance(message, m.OperationResponse | m.DelegateResponse) and isinstance(message.result, m.Success)
    ]
    calls = [message.request for message in pinned if isinstance(message, m.DelegateRequest)]
    reasons = [message.reason for message in pinned if isinstance(message, m.Rejected)]
    assert {type(message) for message in pinned} == variants(m.Message)
    assert {type(request) for request in requests} == variants(m.Request)
    assert {type(value) for value in values} == variants(m.OperationValue) | variants(m.DelegateValue)
    assert {type(call) for call in calls} == variants(m.DelegateCall)
    assert {type(reason) for reason in reasons} == variants(m.RejectionReason)


def objects(value: Any) -> list[dict[str, Any]]:
    """Every object within a JSON value, the ones that hold any JSON left out."""
    found = []
    if isinstance(value, dict):
        found.append(value)
        for key, inner in value.items():
            if key not in ("input", "input_schema", "output_schema") and not (
                key == "result" and value.get("type") == "tool/result"
            ):
                found += objects(inner)
    elif isinstance(value, list):
        found += [within for inner in value for within in objects(inner)]
    return found


def decoder_of(wire: bytes) -> msgspec.json.Decoder[Any]:
    return client_message_decoder if any(wire == known for _, known in CLIENT_WIRE) else host_message_decoder


@pytest.mark.parametrize("wire", [wire for _, wire in [*CLIENT_WIRE, *HOST_WIRE]], ids=wire_id)
def test_an_unknown_field_anywhere_is_an_error(wire: bytes) -> None:
    decoder = decoder_of(wire)
    for place in range(len(objects(msgspec.json.decode(wire)))):
        value = msgspec.json.decode(wire)
        target = objects(value)[place]
        target["unknownField"] = 1
        if target.get("type") == "notification/delivered":  # the one that the reference host is lenient about
            decoder.decode(msgspec.json.encode(value))
            continue
        with pytest.raises(msgspec.ValidationError, match=r"unknown|exactly one"):
            decoder.decode(msgspec.json.encode(value))


OPTIONAL = {
    "namespace",
    "input_schema",
    "output_schema",
    "yield_time_ms",
    "max_output_tokens",
    "detail",
    "error_text",
    "input",
    "result_buffered_for_ns",
    "code_mode_host_duration_ns",
}


@pytest.mark.parametrize("wire", [wire for _, wire in [*CLIENT_WIRE, *HOST_WIRE]], ids=wire_id)
def test_a_missing_field_anywhere_is_an_error_unless_it_is_optional(wire: bytes) -> None:
    decoder = decoder_of(wire)
    for place, target in enumerate(objects(msgspec.json.decode(wire))):
        for field in target:
            value = msgspec.json.decode(wire)
            del objects(value)[place][field]
            data = msgspec.json.encode(value)
            if field in OPTIONAL and not (field == "yield_time_ms" and "cell_id" in target):
                decoder.decode(data)
            else:
                with pytest.raises(msgspec.ValidationError):
                    decoder.decode(data)


def hello(**fields: Any) -> bytes:
    whole = {
        "type": "connection/hello",
        "supportedVersions": [1],
        "requiredCapabilities": [],
        "optionalCapabilities": [],
    }
    return msgspec.json.encode({**whole, **fields})


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"supportedVersions": []}, "length >= 1"),
        ({"supportedVersions": [1, 1]}, "duplicate protocol version 1"),
        ({"supportedVersions": [0]}, ">= 1"),
        ({"supportedVersions": [2**32]}, "<= 4294967295"),
        ({"supportedVersions": [1.0]}, "got `float`"),
        ({"requiredCapabilities": ["a", "a"]}, "duplicate capability 'a'"),
        ({"optionalCapabilities": ["a", "a"]}, "duplicate capability 'a'"),
        ({"requiredCapabilities": ["a"], "optionalCapabilities": ["a"]}, "'a' cannot be both required and optional"),
        ({"optionalCapabilities": [""]}, "matching regex"),
        ({"optionalCapabilities": [" \u3000\n"]}, "matching regex"),
        ({"optionalCapabilities": None}, "got `null`"),
    ],
)
def test_a_hello_that_contradicts_itself_is_an_error(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=why):
        client_message_decoder.decode(hello(**fields))


def test_a_ready_with_a_capability_twice_is_an_error() -> None:
    with pytest.raises(msgspec.ValidationError, match="duplicate capability 'a'"):
        host_message_decoder.decode(b'{"type":"connection/ready","selectedVersion":1,"capabilities":["a","a"]}')


@pytest.mark.parametrize("id", ["0", "-1", str(2**63 - 1), str(-(2**63))])
def test_ids_are_signed_64_bit_integers(id: str) -> None:
    message = client_message_decoder.decode(f'{{"type":"operation/cancel","id":{id}}}')
    assert message == m.OperationCancel(int(id))


@pytest.mark.parametrize("id", [str(2**63), str(-(2**63) - 1), "1.0", "1e3", '"1"', "null", "true"])
def test_any_other_id_is_an_error(id: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        client_message_decoder.decode(f'{{"type":"operation/cancel","id":{id}}}')


def request(method: str, rest: str) -> bytes:
    return (
        f'{{"type":"operation/request","id":1,"request":{{"method":"session/{method}","sessionId":{rest}}}}}'.encode()
    )


@pytest.mark.parametrize("session_id", ['""', '" "', '"\\u00a0\\u0085\\t"'])
def test_a_blank_session_id_is_an_error(session_id: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=r"\$\.request\.sessionId"):
        client_message_decoder.decode(request("open", session_id))


@pytest.mark.parametrize("session_id", [" x ", "\x00", "\n.", "x" * 1000, "\x1c"])
def test_any_other_session_id_is_kept_as_it_is(session_id: str) -> None:
    data = request("open", msgspec.json.encode(session_id).decode())
    assert client_message_decoder.decode(data) == m.OperationRequest(1, m.OpenSession(session_id))


@pytest.mark.parametrize("time", ["-1", str(2**64), "1.0", "null"])
def test_a_wait_needs_a_time_that_is_an_unsigned_64_bit_integer(time: str) -> None:
    fields = '"s","request":{"cell_id":"1","yield_time_ms":%s}'
    longest = client_message_decoder.decode(request("wait", fields % (2**64 - 1)))
    assert longest == m.OperationRequest(1, m.Wait("s", v.WaitRequest("1", v.MAX_YIELD_TIME_MS)))
    with pytest.raises(msgspec.ValidationError, match=r"\$\.request\.request"):
        client_message_decoder.decode(request("wait", fields % time))


@pytest.mark.parametrize("tokens", [str(2**31), str(-(2**31) - 1), "1.0"])
def test_a_token_budget_is_a_signed_32_bit_integer(tokens: str) -> None:
    fields = '"s","request":{"tool_call_id":"","enabled_tools":[],"source":"","max_output_tokens":%s}'
    negative = client_message_decoder.decode(request("execute", fields % "-1"))
    assert negative == m.OperationRequest(1, m.Execute("s", v.ExecuteRequest("", [], "", None, -1)))
    with pytest.raises(msgspec.ValidationError, match=r"\$\.request\.request"):
        client_message_decoder.decode(request("execute", fields % tokens))


def test_requests_out_of_range_cannot_be_made() -> None:
    for time in (-1, 2**64):
        with pytest.raises(ValueError, match="yield_time_ms"):
            v.WaitRequest("1", time)
        with pytest.raises(ValueError, match="yield_time_ms"):
            v.ExecuteRequest("c", [], "1", time)
    with pytest.raises(ValueError, match="max_output_tokens"):
        v.ExecuteRequest("c", [], "1", None, 2**31)


def test_fields_may_come_in_any_order() -> None:
    data = b'{"id":1,"request":{"sessionId":"s","method":"session/open"},"type":"operation/request"}'
    assert client_message_decoder.decode(data) == m.OperationRequest(1, m.OpenSession("s"))


@pytest.mark.parametrize("envelope", ["{}", '{"Yielded":%s,"Terminated":%s}', '{"Result":null}', '{"Other":1}'])
def test_an_envelope_holds_exactly_one_variant(envelope: str) -> None:
    cell = '{"cell_id":"1","content_items":[]}'
    data = '{"type":"execute/initialResponse","id":1,"result":{"status":"ok","value":%s}}'
    with pytest.raises(msgspec.ValidationError):
        host_message_decoder.decode(data % envelope.replace("%s", cell))


def test_an_outcome_says_whether_the_cell_was_there() -> None:
    response = v.Result("1", [v.InputText("x")])
    for outcome in (v.LiveCell(response), v.MissingCell(response)):
        assert v.OutcomeEnvelope.of(outcome).outcome == outcome


@given(strategies.responses)
def test_a_response_survives_its_envelope(response: v.RuntimeResponse) -> None:
    assert v.ResponseEnvelope.of(response).response == response


@given(strategies.outcomes)
def test_an_outcome_survives_its_envelope(outcome: v.Outcome) -> None:
    assert v.OutcomeEnvelope.of(outcome).outcome == outcome


@given(strategies.client_messages)
def test_what_a_client_says_survives_the_wire(message: m.ClientMessage) -> None:
    assert client_message_decoder.decode(msgspec.json.encode(message)) == message


@given(strategies.host_messages)
def test_what_a_host_says_survives_the_wire(message: m.HostMessage) -> None:
    assert host_message_decoder.decode(msgspec.json.encode(message)) == message


def test_json_that_passes_through_keeps_its_bytes() -> None:
    text = b'{ "a" : 1.50, "a": [1e400, 12345678901234567890, "\\u00e9\xc3\xa9"] }'
    data = b'{"type":"delegate/response","id":1,"result":{"status":"ok","value":{"type":"tool/result","result":%b}}}'
    message = client_message_decoder.decode(data % text)
    assert isinstance(message, m.DelegateResponse)
    assert isinstance(message.result, m.Success)
    assert isinstance(message.result.value, m.ToolResult)
    assert bytes(message.result.value.result) == text


def test_deep_json_passes_through() -> None:
    text = b"[" * 200 + b"]" * 200
    message = m.DelegateResponse(1, m.Success(m.ToolResult(msgspec.Raw(text))))
    assert client_message_decoder.decode(msgspec.json.encode(message)) == message


def test_a_tag_is_the_wires_name() -> None:
    assert [tag_of(message) for message in (m.OperationCancel(1), m.OpenSession("s"))] == [
        "operation/cancel",
        "session/open",
    ]
