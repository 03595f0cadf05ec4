"""MCP both ways: tools of MCP servers for scripts, and code mode for MCP clients. Needs the extra `mcp`."""

try:
    from mcp import Client as _Client  # noqa: F401 - the name that tells version 2 of the SDK from version 1
except ImportError as error:
    raise ImportError(
        "codemode_client.mcp needs version 2 or newer of the MCP SDK: pip install 'codemode-host[mcp]'"
    ) from error

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
