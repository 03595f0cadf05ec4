"""The version of the installed distribution."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("codemode-host")
except PackageNotFoundError:  # run from its source
    __version__ = "unknown"
