"""Raises an ImportError that names the missing extra, before other imports of this package fail."""

try:
    from mcp import Client  # noqa: F401 - a name that version 1 of the SDK does not have
except ImportError as error:
    raise ImportError(
        "codemode_client.mcp needs version 2 or newer of the MCP SDK: pip install 'codemode-host[mcp]'"
    ) from error
