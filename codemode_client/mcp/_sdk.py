"""Says which extra is missing, before anything else of this package fails for the want of it."""

try:
    from mcp import Client  # noqa: F401 - the name that tells version 2 of the SDK from version 1
except ImportError as error:
    raise ImportError(
        "codemode_client.mcp needs version 2 or newer of the MCP SDK: pip install 'codemode-host[mcp]'"
    ) from error
