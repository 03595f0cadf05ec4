"""Loggers for what others wrote: tools, servers, scripts, hosts."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from codemode_protocol.printable import printable

if TYPE_CHECKING:
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter


class ForeignLog(_Adapter):
    """A logger whose arguments may be text of others: a terminal that shows the log obeys none of it."""

    def __init__(self, name: str) -> None:
        super().__init__(logging.getLogger(name))

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log a message with printable arguments."""
        if self.isEnabledFor(level):
            kwargs.setdefault("stacklevel", 2)
            self.logger.log(level, msg, *map(make_printable, args), **kwargs)


def make_printable(value: object) -> object:
    """Return a number as it is, and the text of anything else so that it can be shown."""
    return value if isinstance(value, (int, float)) else printable(str(value))
