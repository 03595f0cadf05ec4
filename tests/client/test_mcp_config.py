"""The mcpServers configuration: what is understood, and what is said about mistakes."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from codemode_client.mcp import ConfigError, HttpServer, StdioServer, load_config

ENVIRONMENT = {"TOKEN": "s3cret", "EMPTY": "", "HOST": "docs.example"}


def load(servers: Mapping[str, object]) -> dict[str, StdioServer | HttpServer]:
    return load_config({"mcpServers": servers}, environ=ENVIRONMENT).servers


def test_each_kind_of_server_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "servers.json"
    file.write_text(
        json.dumps(
            {
                "mcpServers": {
                    "files": {"command": "files", "args": ["-v", "/srv"], "env": {"A": "b"}, "cwd": "/tmp"},
                    "docs": {"url": "https://docs.example/mcp", "headers": {"X-Team": "blue"}},
                    "old": {"type": "sse", "url": "http://localhost:1/sse"},
                    "off": {"command": "off", "disabled": True},
                }
            }
        )
    )
    assert load_config(file).servers == {
        "files": StdioServer("files", ("-v", "/srv"), {"A": "b"}, "/tmp"),
        "docs": HttpServer("https://docs.example/mcp", {"X-Team": "blue"}),
        "old": HttpServer("http://localhost:1/sse", transport="sse"),
    }


@pytest.mark.parametrize("field", ["type", "transport"])
@pytest.mark.parametrize("word", ["http", "streamable-http", "streamable_http", "streamableHttp"])
def test_every_usual_word_for_streamable_http_is_understood(field: str, word: str) -> None:
    assert load({"a": {field: word, "url": "http://a/"}}) == {"a": HttpServer("http://a/")}


def test_the_type_decides_where_there_is_a_command_and_a_url() -> None:
    both = {"command": "run", "url": "http://a/"}
    assert load({"a": {**both, "type": "stdio"}}) == {"a": StdioServer("run")}
    assert load({"a": {**both, "type": "http"}}) == {"a": HttpServer("http://a/")}


def test_variables_are_expanded_everywhere() -> None:
    assert load(
        {
            "a": {
                "command": "${SERVER:-server}",
                "args": ["--token=${TOKEN}", "$TOKEN", "${EMPTY:-nothing}${EMPTY}"],
                "env": {"KEY": "${env:TOKEN}"},
                "cwd": "/${HOST}",
            },
            "b": {"url": "https://${HOST}/mcp", "headers": {"Authorization": "Bearer ${TOKEN}"}},
        }
    ) == {
        "a": StdioServer("server", ("--token=s3cret", "$TOKEN", "nothing"), {"KEY": "s3cret"}, "/docs.example"),
        "b": HttpServer("https://docs.example/mcp", {"Authorization": "Bearer s3cret"}),
    }


@pytest.mark.parametrize(
    ("entry", "path", "problem"),
    [
        ({"command": 5}, ".command", "expected str | null, got int"),
        ({"command": "a", "args": ["-p", 8080]}, ".args[1]", "expected str, got int"),
        ({"command": "a", "args": "-p"}, ".args", "expected array | null, got str"),
        ({"command": "a", "env": {"PORT": 8080}}, ".env.PORT", "expected a string, got 8080: put it in quotes"),
        ({"command": "a", "env": {"A": "${NOPE}"}}, ".env.A", "the environment variable NOPE is not set"),
        ({"command": "a", "args": ["${input:key}"]}, ".args[0]", "cannot expand ${input:key}"),
        ({"command": "", "args": []}, ".command", "is missing"),
        ({"type": "http"}, ".url", "is missing"),
        ({"url": "localhost:80"}, ".url", "must begin with http:// or https://, not 'localhost:80'"),
        ({"url": "http://a", "headers": {"A": None}}, ".headers.A", "expected a string, got null"),
        ({"type": "carrier-pigeon", "url": "http://a"}, ".type", "must be stdio, http or sse, not 'carrier-pigeon'"),
        ({"args": []}, "", "needs a command (a server to start) or a url (a server to reach)"),
        ({"command": "a", "url": "http://a"}, "", "has both a command and a url"),
        ({"command": "a", "disabled": "no"}, ".disabled", "expected bool, got str"),
        ([], "", "expected object, got array"),
    ],
)
def test_a_mistake_is_told_with_the_path_of_its_field(entry: object, path: str, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load({"one": entry})
    assert raised.value.path == f"mcpServers.one{path}"
    assert str(raised.value).startswith(f"the configuration: mcpServers.one{path}: {problem}")


def test_secrets_are_in_no_error() -> None:
    with pytest.raises(ConfigError) as raised:
        load({"one": {"url": "${TOKEN}"}})
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "is not JSON"),
        ("[]", "expected object, got array"),
        ('{"servers": {}}', "mcpServers: is missing"),
        ('{"mcpServers": []}', "mcpServers: expected object, got array"),
        ('{"mcpServers": {" ": {"command": "a"}}}', "mcpServers: a server's name must not be blank"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_with_its_name(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "servers.json"
    file.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load_config(file)
    assert str(raised.value).startswith(f"{file}: {problem}")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.json: cannot be read: No such file or directory"):
        load_config(tmp_path / "none.json")


def test_unknown_fields_are_ignored_with_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "codemode_client.mcp")
    configuration = {"mcpServers": {"a": {"command": "run", "timeout": 5, "autoApprove": []}}, "theme": "dark"}
    assert load_config(configuration).servers == {"a": StdioServer("run")}
    assert caplog.messages == [
        "the configuration: ignored theme",
        "the configuration: ignored mcpServers.a.autoApprove, mcpServers.a.timeout",
    ]


def test_without_the_sdk_the_extra_is_named() -> None:
    program = "import sys; sys.modules['mcp'] = None; import codemode_client.mcp"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert result.stderr.rstrip().endswith(
        "ImportError: codemode_client.mcp needs version 2 or newer of the MCP SDK: pip install 'codemode-host[mcp]'"
    )
