"""MCP servers as tools for scripts."""
