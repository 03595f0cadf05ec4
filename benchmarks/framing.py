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
from codemode_protocol.framing import HEADER_BYTES, MAX_PAYLOAD_BYTES, FrameDecoder, encode_frame

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


def decode(pieces: list[bytes]) -> int:
    """Feed the pieces and parse what comes out, as a connection does. Gives the number of frames."""
    decoder, parser = FrameDecoder(), msgspec.json.Decoder(Raw)
    frames = 0
    for piece in pieces:
        for payload in decoder.feed(piece):
            parser.decode(payload)
            frames += 1
    assert decoder.at_boundary
    return frames


def feed(pieces: list[bytes]) -> int:
    """Feed the pieces alone."""
    decoder = FrameDecoder()
    return sum(len(decoder.feed(piece)) for piece in pieces)


def framing_table(rounds: int) -> None:
    print(f"64 MiB, seconds (and times the whole)\n{'frame':>10}  {'':8}{'whole':>8}{'64 KiB':>16}{'4 KiB':>16}")
    for payload in (TOTAL, 1 << 20, 1 << 16, 1 << 10):
        text = Raw(b'"' + b"x" * (payload - 2) + b'"')
        stream = bytes(encode_frame(text)) * (TOTAL // payload)
        cuts = [[stream], pieces_of(stream, 1 << 16), pieces_of(stream, 1 << 12)]
        for name, function in (("frames", feed), ("and JSON", decode)):
            times = [best(lambda cut=cut, function=function: function(cut), rounds) for cut in cuts]  # type: ignore[misc]
            row = f"{payload:>10}  {name:8}{times[0]:8.3f}"
            print(row + "".join(f"{taken:8.3f} ({taken / times[0]:4.2f})" for taken in times[1:]))


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
    call, answer = m.InvokeTool(invocation), m.Success(m.ToolResult(Raw(b'{"text":"abc"}')))

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
    done = m.Success(m.WaitCompleted(v.OutcomeEnvelope.of(v.LiveCell(v.Yielded("1", [v.InputText("abc")])))))

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
