"""What well-known kinds of MCP servers answer to `tools/list`: the forms of their schemas, in words of our own."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from codemode_protocol.typescript import call_tool_result_schema
from codemode_protocol.values import ToolDefinition, ToolKind, ToolName

_DRAFT = "http://json-schema.org/draft-07/schema#"


def _closed(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    schema: dict[str, Any] = {"$schema": _DRAFT, "type": "object", "properties": properties}
    return {**schema, "required": list(required), "additionalProperties": False}


_CONTENT_OUTPUT = {
    "$schema": _DRAFT,
    "type": "object",
    "properties": {"content": {"type": "string"}},
    "required": ["content"],
    "additionalProperties": False,
}

# Schemas made by zod.
FILESYSTEM: list[dict[str, Any]] = [
    {
        "name": "read_text_file",
        "title": "Read text file",
        "description": "Read a whole file as text.\nUse 'head' or 'tail' for a part of it.",
        "inputSchema": _closed(
            {
                "path": {"type": "string"},
                "tail": {"type": "number", "description": "If given, only the last N lines"},
                "head": {"type": "number", "description": "If given, only the first N lines"},
            },
            "path",
        ),
        "outputSchema": _CONTENT_OUTPUT,
        "annotations": {"readOnlyHint": True},
    },
    {
        "name": "edit_file",
        "description": "Replace lines of a text file. Gives a diff in the style of git.",
        "inputSchema": _closed(
            {
                "path": {"type": "string"},
                "edits": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "oldText": {"type": "string", "description": "Text to find, exactly"},
                            "newText": {"type": "string", "description": "Text to put in its place"},
                        },
                        "required": ["oldText", "newText"],
                        "additionalProperties": False,
                    },
                },
                "dryRun": {"type": "boolean", "default": False, "description": "Only show what would change"},
            },
            "path",
            "edits",
        ),
        "outputSchema": _CONTENT_OUTPUT,
    },
    {
        "name": "search_files",
        "description": "Find files by a pattern such as **/*.ts, from a directory on.",
        "inputSchema": _closed(
            {
                "path": {"type": "string"},
                "pattern": {"type": "string"},
                "excludePatterns": {"type": "array", "items": {"type": "string"}, "default": []},
            },
            "path",
            "pattern",
        ),
        "outputSchema": _CONTENT_OUTPUT,
    },
    {
        "name": "list_directory_with_sizes",
        "description": "List what is in a directory, with sizes.",
        "inputSchema": _closed(
            {
                "path": {"type": "string"},
                "sortBy": {"type": "string", "enum": ["name", "size"], "default": "name"},
            },
            "path",
        ),
    },
    {
        "name": "list_allowed_directories",
        "description": "List the directories that this server may read.",
        "inputSchema": {"$schema": _DRAFT, "type": "object", "properties": {}},
        "outputSchema": _CONTENT_OUTPUT,
    },
]

# Schemas made by pydantic.
GIT: list[dict[str, Any]] = [
    {
        "name": "git_status",
        "description": "Shows the state of the working tree",
        "inputSchema": {
            "properties": {"repo_path": {"title": "Repo Path", "type": "string"}},
            "required": ["repo_path"],
            "title": "GitStatus",
            "type": "object",
        },
    },
    {
        "name": "git_diff",
        "description": "Shows what differs between branches or commits",
        "inputSchema": {
            "properties": {
                "repo_path": {"title": "Repo Path", "type": "string"},
                "target": {"title": "Target", "type": "string"},
                "context_lines": {"default": 3, "title": "Context Lines", "type": "integer"},
            },
            "required": ["repo_path", "target"],
            "title": "GitDiff",
            "type": "object",
        },
    },
    {
        "name": "git_log",
        "description": "Shows the commits",
        "inputSchema": {
            "properties": {
                "repo_path": {"title": "Repo Path", "type": "string"},
                "max_count": {"default": 10, "title": "Max Count", "type": "integer"},
                "start_timestamp": {
                    "anyOf": [{"type": "string"}, {"type": "null"}],
                    "default": None,
                    "description": "Commits from then on, as ISO 8601 or in words ('2 weeks ago')",
                    "title": "Start Timestamp",
                },
            },
            "required": ["repo_path"],
            "title": "GitLog",
            "type": "object",
        },
    },
    {
        "name": "git_add",
        "description": "Adds files to the index",
        "inputSchema": {
            "properties": {
                "repo_path": {"title": "Repo Path", "type": "string"},
                "files": {"items": {"type": "string"}, "title": "Files", "type": "array"},
            },
            "required": ["repo_path", "files"],
            "title": "GitAdd",
            "type": "object",
        },
    },
]

FETCH: list[dict[str, Any]] = [
    {
        "name": "fetch",
        "description": "Gets a page from the web.\n\nLong pages come in pieces: go on with start_index.",
        "inputSchema": {
            "description": "What to fetch.",
            "properties": {
                "url": {
                    "description": "URL to fetch",
                    "format": "uri",
                    "minLength": 1,
                    "title": "Url",
                    "type": "string",
                },
                "max_length": {
                    "default": 5000,
                    "description": "Most characters to return.",
                    "exclusiveMaximum": 1000000,
                    "exclusiveMinimum": 0,
                    "title": "Max Length",
                    "type": "integer",
                },
                "start_index": {"default": 0, "minimum": 0, "title": "Start Index", "type": "integer"},
                "raw": {"default": False, "description": "The page as it came.", "title": "Raw", "type": "boolean"},
            },
            "required": ["url"],
            "title": "Fetch",
            "type": "object",
        },
    }
]

# Large results, nested, with references, alternatives and nulls.
_ISSUES_OUTPUT: dict[str, Any] = {
    "$defs": {
        "User": {
            "type": "object",
            "description": "An account",
            "properties": {
                "login": {"type": "string"},
                "id": {"type": "integer"},
                "type": {"enum": ["User", "Bot", "Organization"]},
                "site_admin": {"type": "boolean"},
            },
            "required": ["login", "id", "type"],
        },
        "Label": {
            "oneOf": [
                {"type": "string"},
                {
                    "type": "object",
                    "properties": {"name": {"type": "string"}, "color": {"type": ["string", "null"]}},
                    "required": ["name"],
                },
            ]
        },
        "Issue": {
            "type": "object",
            "properties": {
                "number": {"type": "integer", "minimum": 1},
                "title": {"type": "string"},
                "state": {"type": "string", "enum": ["open", "closed"]},
                "state_reason": {"enum": ["completed", "not_planned", "reopened", None]},
                "user": {"anyOf": [{"$ref": "#/$defs/User"}, {"type": "null"}]},
                "labels": {"type": "array", "items": {"$ref": "#/$defs/Label"}},
                "created_at": {"type": "string", "format": "date-time"},
                "reactions": {
                    "type": "object",
                    "properties": {
                        "+1": {"type": "integer"},
                        "-1": {"type": "integer"},
                        "total_count": {"type": "integer"},
                    },
                    "required": ["+1", "-1", "total_count"],
                },
                "sub_issues": {"type": "array", "items": {"$ref": "#/$defs/Issue"}},
            },
            "required": ["number", "title", "state", "user", "labels", "created_at", "reactions"],
        },
    },
    "type": "object",
    "properties": {
        "total_count": {"type": "integer"},
        "incomplete_results": {"type": "boolean"},
        "items": {
            "type": "array",
            "items": {"allOf": [{"$ref": "#/$defs/Issue"}, {"properties": {"score": {"type": "number"}}}]},
        },
    },
    "required": ["total_count", "items"],
}

GITHUB: list[dict[str, Any]] = [
    {
        "name": "search_issues",
        "description": "Search for issues, with the search syntax already scoped to is:issue",
        "inputSchema": {
            "type": "object",
            "properties": {
                "query": {"type": "string", "description": "Search words and qualifiers"},
                "owner": {"type": "string"},
                "repo": {"type": "string"},
                "sort": {"type": "string", "enum": ["comments", "reactions", "reactions-+1", "created", "updated"]},
                "order": {"type": "string", "enum": ["asc", "desc"]},
                "page": {"type": "number", "minimum": 1},
                "perPage": {"type": "number", "minimum": 1, "maximum": 100},
            },
            "required": ["query"],
        },
        "outputSchema": _ISSUES_OUTPUT,
    },
    {
        "name": "create_or_update_file",
        "description": "Write a file on a branch.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "repository": {
                    "type": "object",
                    "properties": {"owner": {"type": "string"}, "name": {"type": "string"}},
                    "required": ["owner", "name"],
                },
                "path": {"type": "string"},
                "content": {"type": "string", "contentEncoding": "base64"},
                "author": {
                    "type": "object",
                    "properties": {"name": {"type": "string"}, "email": {"type": "string", "format": "email"}},
                    "required": ["name", "email"],
                },
                "sha": {"type": "string", "description": "Of the file that is replaced"},
            },
            "required": ["repository", "path", "content"],
        },
    },
    {
        "name": "submit-review",
        "description": "Review a pull request.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "pull": {"type": "integer"},
                "event": {"type": "string", "enum": ["APPROVE", "REQUEST_CHANGES", "COMMENT"]},
                "comments": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"path": {"type": "string"}, "body": {"type": "string"}},
                        "required": ["path", "body"],
                        "oneOf": [
                            {"properties": {"line": {"type": "integer"}}, "required": ["line"]},
                            {
                                "properties": {
                                    "range": {
                                        "type": "array",
                                        "prefixItems": [{"type": "integer"}] * 2,
                                        "items": False,
                                        "minItems": 2,
                                    }
                                },
                                "required": ["range"],
                            },
                        ],
                    },
                },
                "extra": {"type": "object", "additionalProperties": {"type": ["string", "number"]}},
            },
            "required": ["pull", "event"],
        },
    },
]

SERVERS = {"filesystem": FILESYSTEM, "git": GIT, "fetch": FETCH, "github": GITHUB}


def definitions() -> list[ToolDefinition]:
    """All of them as tools of cells, each under its server's name."""
    return [_definition(server, tool) for server, tools in SERVERS.items() for tool in tools]


def _definition(server: str, tool: dict[str, Any]) -> ToolDefinition:
    return ToolDefinition(
        f"{server}__{tool['name']}",
        ToolName(tool["name"], server),
        tool["description"],
        ToolKind.FUNCTION,
        Raw(msgspec.json.encode(tool["inputSchema"])),
        Raw(msgspec.json.encode(call_tool_result_schema(tool.get("outputSchema")))),
    )
