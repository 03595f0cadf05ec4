"""The options of a provider, on every event loop and for plain calls."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

from codemode_protocol.framing import MAX_PAYLOAD_BYTES

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

START_ATTEMPTS = 5
FIRST_BACKOFF_SECONDS = 0.1
MAX_BACKOFF_SECONDS = 5.0


@dataclass(eq=False, repr=False)
class ProviderOptions:
    """The options of a provider.

    Attributes:
        command: The host program and its arguments: `["codemode-host", "--memory-mib", "64"]`, `["ssh", "box",
            "codemode-host"]`, `["docker", "run", "-i", …]`; by default this environment's own host.
        env: The host process's environment; by default the caller's own.
        cwd: The host process's working directory; by default the caller's own.
        handshake_timeout: Seconds for the host to answer the handshake.
        shutdown_timeout: Seconds for the host to close a session, after which it counts as lost.
        stall_timeout: Seconds for the host to answer a request, beyond the time that the request observes a cell, after
            which the host counts as lost.
        close_timeout: Seconds for the host to exit once its input is closed, before it is sent SIGTERM.
        start_attempts: Stop starting hosts after so many in a row that answered no request.
        first_backoff: Seconds by which the start after a failed one is delayed; doubled for each further failure.
        max_backoff: The longest delay of a start, in seconds.
        max_frame_bytes: The largest payload of a frame, both ways, in bytes.
        tracer_provider: An OpenTelemetry tracer provider (the extra `otel`): executes, waits and tool calls get spans.
    """

    command: Sequence[str] | None = None
    _: KW_ONLY
    env: Mapping[str, str] | None = None
    cwd: str | None = None
    handshake_timeout: float = 10.0
    shutdown_timeout: float = 10.0
    stall_timeout: float = 60.0
    close_timeout: float = 2.0
    start_attempts: int = START_ATTEMPTS
    first_backoff: float = FIRST_BACKOFF_SECONDS
    max_backoff: float = MAX_BACKOFF_SECONDS
    max_frame_bytes: int = MAX_PAYLOAD_BYTES
    tracer_provider: TracerProvider | None = None

    def __post_init__(self) -> None:
        if self.command is not None and (isinstance(self.command, str) or not self.command):
            raise ValueError("command is a list: the program, then its arguments")

    @property
    def host_command(self) -> Sequence[str]:
        """The host program and its arguments."""
        return self.command if self.command is not None else (sys.executable, "-m", "codemode_host")
