"""What the protocol costs: frames however they are cut, and a message through a connection beside msgspec alone.

    python benchmarks/framing.py [--rounds N]

The first table decodes 64 MiB in frames of several sizes, in one piece and cut into 4 KiB and 64 KiB pieces; the
goal is that cutting costs at most 1.5 times as much. The second table is microseconds for one message, both ends
together.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import msgspec
from msgspec import Raw

from codemode_protocol import messages as m
from codemode_protocol import values as v
from codemode_protocol.connection import ClientConnection, HostConnection
from codemode_protocol.framing import HEADER_BYTES, MAX_PAYLOAD_BYTES, encode_frame

TOTAL = MAX_PAYLOAD_BYTES


def best(function: Callable[[], object], rounds: int) -> float:
    """The shortest of several runs, in seconds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def pieces_of(stream: bytes, size: int) -> list[bytes]:
    return [stream[at : at + size] for at in range(0, len(stream), size)]


def stream_of(payload: int, message: Callable[[bytes], m.Message]) -> bytes:
    """64 MiB of frames that hold the same message, each with `payload` bytes of JSON."""
    room = payload - len(msgspec.json.encode(message(b"")))
    frame = encode_frame(message(b"x" * room))
    assert len(frame) == HEADER_BYTES + payload
    return bytes(frame) * (TOTAL // payload)


def framing_table(rounds: int) -> None:
    """Measure the host's cost of each framing, including decoding. The messages answer calls that were never made."""

    def failure(text: bytes) -> m.Message:
        return m.DelegateResponse(1, m.Failure(text.decode()))

    def result(text: bytes) -> m.Message:
        return m.DelegateResponse(1, m.Success(m.ToolResult(Raw(b'"' + text + b'"'))))

    print(f"64 MiB, milliseconds (times the whole)\n{'payload':>10}  {'':5}{'whole':>8}{'64 KiB':>18}{'4 KiB':>18}")
    for payload in (TOTAL, 1 << 20, 1 << 16, 1 << 10):
        for name, message in (("text", failure), ("JSON", result)):
            stream = stream_of(payload, message)
            times = []
            for pieces in ([stream], pieces_of(stream, 1 << 16), pieces_of(stream, 1 << 12)):

                def receive(pieces: list[bytes] = pieces) -> None:
                    _, host = greeted()
                    for piece in pieces:
                        assert not host.receive_data(piece)

                times.append(best(receive, rounds) * 1e3)
            row = "".join(f"{taken:10.1f} ({taken / times[0]:4.2f})" for taken in times[1:])
            print(f"{payload:>10}  {name:5}{times[0]:8.1f}{row}")


def greeted() -> tuple[ClientConnection, HostConnection]:
    client, host = ClientConnection(), HostConnection()
    (hello,) = host.receive_data(client.hello())
    client.receive_data(host.negotiate(hello))
    for request, answer in (
        (m.OpenSession("s"), m.SessionReady("s")),
        (m.Execute("s", v.ExecuteRequest("c", [], "1")), m.ExecutionStarted("1")),
    ):
        id = client.next_request_id()
        host.receive_data(client.send(m.OperationRequest(id, request)))
        client.receive_data(host.send(m.OperationResponse(id, m.Success(answer))))
    return client, host


def message_table(rounds: int, count: int = 20_000) -> None:
    encoder = msgspec.json.Encoder()
    to_client, to_host = msgspec.json.Decoder(m.HostMessage), msgspec.json.Decoder(m.ClientMessage)
    invocation = v.ToolInvocation("1", "tool-1", v.ToolName("a"), v.ToolKind.FUNCTION, Raw(b'{"path":"x"}'))
    call, answer = m.InvokeTool(invocation), m.Success[m.DelegateValue](m.ToolResult(Raw(b'{"text":"abc"}')))

    def calls_bare() -> None:
        for id in range(count):
            to_client.decode(encoder.encode(m.DelegateRequest(id, "s", call)))
            to_host.decode(encoder.encode(m.DelegateResponse(id, answer)))

    def calls() -> None:
        client, host = greeted()
        for _ in range(count):
            id = host.next_delegate_id()
            client.receive_data(host.send(m.DelegateRequest(id, "s", call)))
            host.receive_data(client.send(m.DelegateResponse(id, answer)))

    wait = m.Wait("s", v.WaitRequest("1", 1))
    done = m.Success[m.OperationValue](
        m.WaitCompleted(v.OutcomeEnvelope.of(v.LiveCell(v.Yielded("1", [v.InputText("abc")]))))
    )

    def waits_bare() -> None:
        for id in range(count):
            to_host.decode(encoder.encode(m.OperationRequest(id, wait)))
            to_client.decode(encoder.encode(m.OperationResponse(id, done)))

    def waits() -> None:
        client, host = greeted()
        for _ in range(count):
            id = client.next_request_id()
            host.receive_data(client.send(m.OperationRequest(id, wait)))
            client.receive_data(host.send(m.OperationResponse(id, done)))

    print("\none message through both ends, microseconds\n              msgspec alone   connections   difference")
    for name, bare, whole in (("tool calls", calls_bare, calls), ("waits", waits_bare, waits)):
        alone, through = (best(function, rounds) / (2 * count) * 1e6 for function in (bare, whole))
        print(f"{name:>12}{alone:15.2f}{through:14.2f}{through - alone:13.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    print(f"payload limit {MAX_PAYLOAD_BYTES} bytes, header {HEADER_BYTES} bytes, msgspec {msgspec.__version__}")
    framing_table(rounds)
    message_table(rounds)


if __name__ == "__main__":
    main()
