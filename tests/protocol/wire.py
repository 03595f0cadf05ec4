"""Every message in its wire form, byte for byte as the reference host and its client send it, and how tests pass
messages on.
"""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from codemode_protocol import messages as m
from codemode_protocol import values as v
from codemode_protocol.connection import ClientConnection, HostConnection
from codemode_protocol.framing import encode_frame

TOOL = v.ToolDefinition("a", v.ToolName("A.b", "mcp"), "does", v.ToolKind.FREEFORM, Raw(b'{"type":"object"}'))

CLIENT_WIRE: list[tuple[m.ClientMessage, bytes]] = [
    (
        m.Hello([1], [], ["yield-observation"]),
        (
            b'{"type":"connection/hello","supportedVersions":[1],"requiredCapabilities":[],'
            b'"optionalCapabilities":["yield-observation"]}'
        ),
    ),
    (
        m.OperationRequest(1, m.OpenSession("s")),
        b'{"type":"operation/request","id":1,"request":{"method":"session/open","sessionId":"s"}}',
    ),
    (
        m.OperationRequest(2, m.Execute("s", v.ExecuteRequest("c", [TOOL], "1", None, 5))),
        (
            b'{"type":"operation/request","id":2,"request":{"method":"session/execute","sessionId":"s","request":'
            b'{"tool_call_id":"c","enabled_tools":[{"name":"a","tool_name":{"name":"A.b","namespace":"mcp"},'
            b'"description":"does","kind":"freeform","input_schema":{"type":"object"},"output_schema":null}],'
            b'"source":"1","yield_time_ms":null,"max_output_tokens":5}}}'
        ),
    ),
    (
        m.OperationRequest(3, m.Wait("s", v.WaitRequest("1", 5000))),
        (
            b'{"type":"operation/request","id":3,"request":{"method":"session/wait","sessionId":"s","request":'
            b'{"cell_id":"1","yield_time_ms":5000}}}'
        ),
    ),
    (
        m.OperationRequest(4, m.Terminate("s", "1")),
        b'{"type":"operation/request","id":4,"request":{"method":"session/terminate","sessionId":"s","cellId":"1"}}',
    ),
    (
        m.OperationRequest(-5, m.ShutdownSession("s")),
        b'{"type":"operation/request","id":-5,"request":{"method":"session/shutdown","sessionId":"s"}}',
    ),
    (m.OperationCancel(3), b'{"type":"operation/cancel","id":3}'),
    (
        m.DelegateResponse(1, m.Success(m.ToolResult(Raw(b'{"a":[1.50,"\xc3\xa9"]}')))),
        (
            b'{"type":"delegate/response","id":1,"result":{"status":"ok","value":{"type":"tool/result","result":'
            b'{"a":[1.50,"\xc3\xa9"]}}}}'
        ),
    ),
    (
        m.DelegateResponse(2, m.Success(m.NotificationDelivered())),
        b'{"type":"delegate/response","id":2,"result":{"status":"ok","value":{"type":"notification/delivered"}}}',
    ),
    (
        m.DelegateResponse(3, m.Failure("no")),
        b'{"type":"delegate/response","id":3,"result":{"status":"error","message":"no"}}',
    ),
]

ITEMS: list[v.ContentItem] = [
    v.InputText('\x00\x1f\b\f\n\t\r"\\/\x7f\u2028é😀'),
    v.InputImage("data:,", v.ImageDetail.HIGH),
    v.InputImage("data:,"),
    v.InputAudio("data:audio/wav;base64,aa"),
]
ITEMS_JSON = (
    '[{"type":"input_text","text":"\\u0000\\u001f\\b\\f\\n\\t\\r\\"\\\\/\x7f\u2028é😀"},'
    '{"type":"input_image","image_url":"data:,","detail":"high"},{"type":"input_image","image_url":"data:,"},'
    '{"type":"input_audio","audio_url":"data:audio/wav;base64,aa"}]'
).encode()


def _initial(id: int, response: v.RuntimeResponse) -> m.InitialResponse:
    return m.InitialResponse(id, m.Success(v.ResponseEnvelope.of(response)))


def _completed(id: int, outcome: v.Outcome) -> m.OperationResponse:
    return m.OperationResponse(id, m.Success(m.WaitCompleted(v.OutcomeEnvelope.of(outcome))))


HOST_WIRE: list[tuple[m.HostMessage, bytes]] = [
    (
        m.Ready(1, ["bounded-output-v1"]),
        b'{"type":"connection/ready","selectedVersion":1,"capabilities":["bounded-output-v1"]}',
    ),
    (
        m.Rejected(m.NoCompatibleVersion([1])),
        b'{"type":"connection/rejected","reason":{"type":"noCompatibleVersion","supportedVersions":[1]}}',
    ),
    (
        m.Rejected(m.MissingRequiredCapability("x")),
        b'{"type":"connection/rejected","reason":{"type":"missingRequiredCapability","capability":"x"}}',
    ),
    (
        m.Rejected(m.InvalidHello("first message must be connection/hello")),
        (
            b'{"type":"connection/rejected","reason":{"type":"invalidHello","message":'
            b'"first message must be connection/hello"}}'
        ),
    ),
    (
        m.OperationResponse(1, m.Success(m.SessionReady("s"))),
        b'{"type":"operation/response","id":1,"result":{"status":"ok","value":{"type":"session/ready","sessionId":"s"}}}',
    ),
    (
        m.OperationResponse(2, m.Success(m.ExecutionStarted("1"))),
        b'{"type":"operation/response","id":2,"result":{"status":"ok","value":{"type":"execution/started","cellId":"1"}}}',
    ),
    (
        m.OperationResponse(3, m.Success(m.SessionClosed("s"))),
        b'{"type":"operation/response","id":3,"result":{"status":"ok","value":{"type":"session/closed","sessionId":"s"}}}',
    ),
    (
        m.OperationResponse(4, m.Failure("code-mode session ID `s` was reused")),
        (
            b'{"type":"operation/response","id":4,"result":{"status":"error","message":'
            b'"code-mode session ID `s` was reused"}}'
        ),
    ),
    (
        _completed(3, v.LiveCell(v.Yielded("1", [], 7))),
        (
            b'{"type":"operation/response","id":3,"result":{"status":"ok","value":{"type":"wait/completed","outcome":'
            b'{"LiveCell":{"Yielded":{"cell_id":"1","content_items":[],"code_mode_host_duration_ns":7}}}}}}'
        ),
    ),
    (
        _completed(4, v.LiveCell(v.Terminated("1", []))),
        (
            b'{"type":"operation/response","id":4,"result":{"status":"ok","value":{"type":"wait/completed","outcome":'
            b'{"LiveCell":{"Terminated":{"cell_id":"1","content_items":[]}}}}}}'
        ),
    ),
    (
        _completed(5, v.MissingCell(v.Result("1", [], "exec cell 1 not found", 0, 9))),
        (
            b'{"type":"operation/response","id":5,"result":{"status":"ok","value":{"type":"wait/completed","outcome":'
            b'{"MissingCell":{"Result":{"cell_id":"1","content_items":[],"error_text":"exec cell 1 not found",'
            b'"result_buffered_for_ns":0,"code_mode_host_duration_ns":9}}}}}}'
        ),
    ),
    (
        _initial(2, v.Result("1", ITEMS)),
        b'{"type":"execute/initialResponse","id":2,"result":{"status":"ok","value":{"Result":{"cell_id":"1",'
        b'"content_items":' + ITEMS_JSON + b',"error_text":null}}}}',
    ),
    (
        m.InitialResponse(2, m.Failure("too large")),
        b'{"type":"execute/initialResponse","id":2,"result":{"status":"error","message":"too large"}}',
    ),
    (
        m.DelegateRequest(1, "s", m.SendNotification("c", "1", "x")),
        (
            b'{"type":"delegate/request","id":1,"sessionId":"s","request":{"type":"notification/send","callId":"c",'
            b'"cellId":"1","text":"x"}}'
        ),
    ),
    (
        m.DelegateRequest(
            2,
            "s",
            m.InvokeTool(
                v.ToolInvocation("1", "tool-1", v.ToolName("A.b", "mcp"), v.ToolKind.FREEFORM, Raw(b'{"b":1}'))
            ),
        ),
        (
            b'{"type":"delegate/request","id":2,"sessionId":"s","request":{"type":"tool/invoke","invocation":'
            b'{"cell_id":"1","runtime_tool_call_id":"tool-1","tool_name":{"name":"A.b","namespace":"mcp"},'
            b'"tool_kind":"freeform","input":{"b":1}}}}'
        ),
    ),
    (
        m.DelegateRequest(3, "s", m.InvokeTool(v.ToolInvocation("1", "tool-2", v.ToolName("a"), v.ToolKind.FUNCTION))),
        (
            b'{"type":"delegate/request","id":3,"sessionId":"s","request":{"type":"tool/invoke","invocation":'
            b'{"cell_id":"1","runtime_tool_call_id":"tool-2","tool_name":{"name":"a","namespace":null},'
            b'"tool_kind":"function","input":null}}}'
        ),
    ),
    (m.DelegateCancel(1), b'{"type":"delegate/cancel","id":1}'),
    (m.CellClosed("s", "1"), b'{"type":"cell/closed","sessionId":"s","cellId":"1"}'),
]

CLIENT_MESSAGES = (m.Hello, m.OperationRequest, m.OperationCancel, m.DelegateResponse)

Connection = ClientConnection | HostConnection


def sends(connection: Connection, message: m.Message) -> bool:
    """Whether this is a message that this end of a connection says (or one that it hears)."""
    return isinstance(connection, ClientConnection) is isinstance(message, CLIENT_MESSAGES)


def tell(connection: Connection, message: Any) -> None:
    """Take a message through a connection, whichever its direction is: let it be said, or let it be heard."""
    if not sends(connection, message):
        connection.receive_data(encode_frame(message))
    elif isinstance(message, m.Hello):
        assert isinstance(connection, ClientConnection)
        connection.hello()
    elif isinstance(message, m.Ready | m.Rejected):
        assert isinstance(connection, HostConnection)
        hello = m.Hello([1], [], [])
        connection.negotiate(hello if isinstance(message, m.Ready) else m.OperationCancel(0))
    else:
        connection.send(message)


def greeted(connection: Connection) -> Connection:
    """The connection, its handshake done."""
    tell(connection, m.Hello([1], [], []))
    tell(connection, m.Ready(1, []))
    return connection


def talk(connection: Connection, *messages: m.Message) -> Connection:
    """The connection, its handshake done and these messages said or heard."""
    greeted(connection)
    for message in messages:
        tell(connection, message)
    return connection


def open_session(id: int = 1, session: str = "s") -> list[m.Message]:
    return [
        m.OperationRequest(id, m.OpenSession(session)),
        m.OperationResponse(id, m.Success(m.SessionReady(session))),
    ]


def execute(id: int = 3, session: str = "s") -> m.OperationRequest:
    return m.OperationRequest(id, m.Execute(session, v.ExecuteRequest("c", [], "1")))


def started(id: int = 3, cell: str = "1") -> m.OperationResponse:
    return m.OperationResponse(id, m.Success(m.ExecutionStarted(cell)))


def initial(id: int, response: v.RuntimeResponse) -> m.InitialResponse:
    return _initial(id, response)


def wait(id: int, cell: str = "1", session: str = "s") -> m.OperationRequest:
    return m.OperationRequest(id, m.Wait(session, v.WaitRequest(cell, 1)))


def terminate(id: int, cell: str = "1", session: str = "s") -> m.OperationRequest:
    return m.OperationRequest(id, m.Terminate(session, cell))


def shutdown(id: int, session: str = "s") -> m.OperationRequest:
    return m.OperationRequest(id, m.ShutdownSession(session))


def closed(id: int, session: str = "s") -> m.OperationResponse:
    return m.OperationResponse(id, m.Success(m.SessionClosed(session)))


def live(id: int, response: v.RuntimeResponse) -> m.OperationResponse:
    return _completed(id, v.LiveCell(response))


def missing(id: int, cell: str = "1") -> m.OperationResponse:
    return _completed(id, v.MissingCell(v.Result(cell, [], f"exec cell {cell} not found")))


def failed(id: int) -> m.OperationResponse:
    return m.OperationResponse(id, m.Failure("no"))


def tool_call(id: int, cell: str = "1", session: str = "s") -> m.DelegateRequest:
    invocation = v.ToolInvocation(cell, "tool-1", v.ToolName("a"), v.ToolKind.FUNCTION)
    return m.DelegateRequest(id, session, m.InvokeTool(invocation))


def notification(id: int, cell: str = "1", session: str = "s") -> m.DelegateRequest:
    return m.DelegateRequest(id, session, m.SendNotification("c", cell, "x"))


def tool_result(id: int) -> m.DelegateResponse:
    return m.DelegateResponse(id, m.Success(m.ToolResult(Raw(b"1"))))


def delivered(id: int) -> m.DelegateResponse:
    return m.DelegateResponse(id, m.Success(m.NotificationDelivered()))


def call_failed(id: int) -> m.DelegateResponse:
    return m.DelegateResponse(id, m.Failure("no"))


def snapshot(thing: object) -> object:
    """All that an object holds, comparable: what must be the same when nothing changed."""
    if isinstance(thing, dict):
        return [(key, snapshot(value)) for key, value in thing.items()]
    names = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    names += list(getattr(thing, "__dict__", ()))
    if names and type(thing).__module__.startswith("codemode_protocol") and not hasattr(thing, "name"):
        return type(thing), [(name, snapshot(getattr(thing, name))) for name in names]
    return list(thing) if isinstance(thing, list) else thing
