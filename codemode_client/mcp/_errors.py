"""What goes wrong with a server as a whole. (What goes wrong with one call is a `ToolError` for the script.)"""

from __future__ import annotations

from codemode_protocol.errors import CodeModeError


class McpServerError(CodeModeError):
    """An MCP server could not be started or reached, or was lost.

    `server` is its name in the configuration, `described` its command or its URL, `stderr` the last lines that it
    wrote to standard error (a process alone has these).
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
