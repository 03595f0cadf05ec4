"""MCP in both directions: tools of MCP servers for scripts, and code mode for MCP clients. Needs the extra `mcp`."""

from codemode_client.mcp import _sdk  # noqa: F401 - first, to raise an error that names the extra
from codemode_client.mcp._client.servers import Servers, connect
from codemode_client.mcp._config import Config, ConfigError, HttpServer, StdioServer, load_config
from codemode_client.mcp._errors import McpServerError

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
