"""The error of a server as a whole; a failed call is a `ToolError` for the script."""

from __future__ import annotations

from codemode_protocol.errors import CodeModeError


class McpServerError(CodeModeError):
    """An MCP server could not be started or reached, or was lost.

    Attributes:
        server: Its name in the configuration.
        described: Its command or URL.
        problem: What went wrong.
        stderr: The last lines on its standard error, if it is a process.
    """

    def __init__(self, server: str, described: str, problem: str, *, stderr: str = "") -> None:
        text = f"MCP server {server} ({described}) {problem}"
        if stderr:
            text += f"; its last lines on standard error:\n{stderr}"
        super().__init__(text)
        self.server = server
        self.described = described
        self.problem = problem
        self.stderr = stderr
