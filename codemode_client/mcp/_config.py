"""The `mcpServers` JSON that configures MCP clients: the servers and how to reach them.

```json
{"mcpServers": {"files": {"command": "files-server", "args": ["/srv"], "env": {"TOKEN": "${TOKEN}"}},
                "docs": {"type": "http", "url": "https://docs.example/mcp", "headers": {"X-Team": "blue"}}}}
```

`${NAME}` and `${env:NAME}` stand for an environment variable, `${NAME:-TEXT}` for TEXT if it is unset or empty. They
are expanded in `command`, `args`, `env`, `cwd`, `url` and `headers`. Unknown fields are ignored and logged.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
from msgspec import Raw, Struct

from codemode_client._observability.foreign import ForeignLog
from codemode_protocol.errors import CodeModeError

logger: ForeignLog = ForeignLog("codemode_client.mcp")

T = TypeVar("T")

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_REFERENCE = re.compile(r"(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_AT = re.compile(r" - at `\$(.*)`$")

_TRANSPORTS: dict[str, Literal["stdio", "http", "sse"]] = {
    "stdio": "stdio",
    "http": "http",
    "streamable-http": "http",
    "streamable_http": "http",
    "streamablehttp": "http",
    "sse": "sse",
}


class ConfigError(CodeModeError):
    """The configuration is invalid. `source` is its file, `path` the wrong field."""

    def __init__(self, source: str, path: str, problem: str) -> None:
        super().__init__(f"{source}: {path}: {problem}" if path else f"{source}: {problem}")
        self.source = source
        self.path = path


class StdioServer(Struct, frozen=True):
    """A server that runs as a process, with messages on its standard input and output.

    Attributes:
        command: The program.
        args: Its arguments.
        env: Variables in addition to HOME, LOGNAME, PATH, SHELL, TERM and USER, which every server gets.
        cwd: Its working directory; None for the caller's own.
    """

    command: str
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}
    cwd: str | None = None

    @property
    def described(self) -> str:
        """The command without the environment, which may hold secrets."""
        return " ".join([self.command, *self.args])


class HttpServer(Struct, frozen=True):
    """A server that is reached by streamable HTTP, or by its predecessor HTTP+SSE (`transport="sse"`)."""

    url: str
    headers: dict[str, str] = {}
    transport: Literal["http", "sse"] = "http"

    @property
    def described(self) -> str:
        """The URL without its query, which may hold secrets."""
        return self.url.partition("?")[0]


Server = StdioServer | HttpServer


class Config(Struct, frozen=True):
    """The enabled servers by name, in the order of the file."""

    servers: dict[str, Server]


class _Entry(Struct, rename={"transport_": "transport", "type_": "type"}):
    """One server in the JSON."""

    command: str | None = None
    args: list[str] | None = None
    env: dict[str, object] | None = None
    cwd: str | None = None
    url: str | None = None
    headers: dict[str, object] | None = None
    type_: str | None = None
    transport_: str | None = None
    disabled: bool = False


_KNOWN = frozenset(_Entry.__struct_encode_fields__)


def load_config(
    source: str | os.PathLike[str] | Mapping[str, object], *, environ: Mapping[str, str] = os.environ
) -> Config:
    """Read a configuration from a JSON file.

    Args:
        source: The file, or its decoded content.
        environ: The environment variables to expand.

    Raises:
        ConfigError: The file cannot be read, or a field is wrong.
    """
    if isinstance(source, Mapping):
        name = "the configuration"
        text = msgspec.json.encode(dict(source))
    else:
        name = os.fspath(source)
        try:
            text = Path(source).read_bytes()
        except OSError as error:
            raise ConfigError(name, "", f"cannot be read: {error.strerror}") from error
    reader = _Reader(name, environ)
    top = reader.decode(text, dict[str, Raw], "")
    if "mcpServers" not in top:
        raise ConfigError(name, "mcpServers", "is missing: the servers belong into an object of that name")
    entries = reader.decode(top["mcpServers"], dict[str, Raw], "mcpServers")
    reader.ignored("", set(top) - {"mcpServers"})
    servers: dict[str, Server] = {}
    for server_name, entry in entries.items():
        server = reader.server(f"mcpServers.{server_name}", entry)
        if not server_name.strip():
            raise ConfigError(name, "mcpServers", "a server's name must not be blank: it is part of its tools' names")
        if server is not None:
            servers[server_name] = server
    return Config(servers)


class _Reader:
    """The decoder of one configuration, whose errors name the place."""

    def __init__(self, source: str, environ: Mapping[str, str]) -> None:
        self._source = source
        self._environ = environ

    def decode(self, text: bytes | Raw, type_: type[T], path: str) -> T:
        try:
            return msgspec.json.decode(text, type=type_)
        except msgspec.ValidationError as error:
            message = str(error)
            where = _AT.search(message)
            problem = _AT.sub("", message).replace("`", "").lower()
            raise ConfigError(self._source, path + (where[1] if where else ""), problem) from error
        except msgspec.DecodeError as error:
            raise ConfigError(self._source, path, f"is not JSON: {error}") from error

    def ignored(self, path: str, fields: set[str]) -> None:
        if fields:
            names = ", ".join(sorted(f"{path}.{one}".lstrip(".") for one in fields))
            logger.info("%s: ignored %s", self._source, names)

    def server(self, path: str, text: Raw) -> Server | None:
        """Decode one entry; return None if it is disabled."""
        entry = self.decode(text, _Entry, path)
        self.ignored(path, set(self.decode(text, dict[str, Raw], path)) - _KNOWN)
        if entry.disabled:
            return None
        transport = self._transport(path, entry)
        if transport == "stdio":
            if not entry.command:
                raise ConfigError(self._source, f"{path}.command", "is missing: the program that is the server")
            return StdioServer(
                command=self._text(f"{path}.command", entry.command),
                args=tuple(self._text(f"{path}.args[{at}]", one) for at, one in enumerate(entry.args or ())),
                env=self._texts(f"{path}.env", entry.env),
                cwd=None if entry.cwd is None else self._text(f"{path}.cwd", entry.cwd),
            )
        if not entry.url:
            raise ConfigError(self._source, f"{path}.url", "is missing: where the server is reached")
        url = self._text(f"{path}.url", entry.url)
        if not url.startswith(("http://", "https://")):
            raise ConfigError(self._source, f"{path}.url", f"must begin with http:// or https://, not {entry.url!r}")
        return HttpServer(url=url, headers=self._texts(f"{path}.headers", entry.headers), transport=transport)

    def _transport(self, path: str, entry: _Entry) -> Literal["stdio", "http", "sse"]:
        field, written = ("type", entry.type_) if entry.type_ is not None else ("transport", entry.transport_)
        if written is not None:
            transport = _TRANSPORTS.get(written.lower())
            if transport is None:
                raise ConfigError(self._source, f"{path}.{field}", f"must be stdio, http or sse, not {written!r}")
            return transport
        if entry.command is not None and entry.url is not None:
            raise ConfigError(self._source, path, "has both a command and a url: leave one out, or say which by type")
        if entry.command is None and entry.url is None:
            raise ConfigError(self._source, path, "needs a command (a server to start) or a url (a server to reach)")
        return "stdio" if entry.command is not None else "http"

    def _texts(self, path: str, values: dict[str, object] | None) -> dict[str, str]:
        expanded = {}
        for key, value in (values or {}).items():
            if not isinstance(value, str):
                written = msgspec.json.encode(value).decode()
                raise ConfigError(self._source, f"{path}.{key}", f"expected a string, got {written}: put it in quotes")
            expanded[key] = self._text(f"{path}.{key}", value)
        return expanded

    def _text(self, path: str, value: str) -> str:
        """Expand the variables in a value."""

        def expand(match: re.Match[str]) -> str:
            reference = _REFERENCE.fullmatch(match[1])
            if reference is None:
                raise ConfigError(self._source, path, f"cannot expand {match[0]}: write ${{NAME}} or ${{NAME:-TEXT}}")
            variable, default = reference.groups()
            found = self._environ.get(variable)
            if default is not None and not found:
                return default
            if found is None:
                raise ConfigError(self._source, path, f"the environment variable {variable} is not set")
            return found

        return _VARIABLE.sub(expand, value)
