"""MCP servers whose tools scripts call."""
