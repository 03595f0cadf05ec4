"""Says which extra is missing, before anything else of this package fails for the want of it."""

from __future__ import annotations

try:
    import hypothesis  # noqa: F401
except ImportError as error:
    raise ImportError("codemode_protocol.testing needs Hypothesis: pip install 'codemode-host[testing]'") from error
