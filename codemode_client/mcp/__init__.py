"""MCP both ways: tools of MCP servers for scripts, and code mode for MCP clients. Needs the extra `mcp`."""

from codemode_client.mcp import sdk  # noqa: F401 - first, to say which extra is missing
from codemode_client.mcp.config import Config, ConfigError, HttpServer, StdioServer, load_config
from codemode_client.mcp.errors import McpServerError
from codemode_client.mcp.servers import Servers, connect

__all__ = [
    "Config",
    "ConfigError",
    "HttpServer",
    "McpServerError",
    "Servers",
    "StdioServer",
    "connect",
    "load_config",
]
