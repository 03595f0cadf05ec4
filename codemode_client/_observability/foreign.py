"""Loggers for what others wrote: tools, servers, scripts, hosts."""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING, Any

from codemode_protocol.printable import printable

if TYPE_CHECKING:
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter


class _PrintableTraceback(logging.Filter):
    """Writes the traceback of a record itself, which a formatter then takes as it is."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1] is not None and not record.exc_text:
            record.exc_text = printable("".join(traceback.format_exception(record.exc_info[1])).rstrip("\n"))
        return True


_printable_traceback = _PrintableTraceback()


def foreign_logger(name: str) -> logging.Logger:
    """Return a logger whose tracebacks are printable."""
    logger = logging.getLogger(name)
    logger.addFilter(_printable_traceback)
    return logger


class ForeignLog(_Adapter):
    """A logger whose arguments may be text of others: a terminal that shows the log obeys none of it."""

    def __init__(self, name: str) -> None:
        super().__init__(foreign_logger(name))

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log a message with printable arguments."""
        if self.isEnabledFor(level):
            kwargs.setdefault("stacklevel", 2)
            self.logger.log(level, msg, *map(make_printable, args), **kwargs)


def make_printable(value: object) -> object:
    """Return a number as it is, and the text of anything else so that it can be shown."""
    return value if isinstance(value, (int, float)) else printable(str(value))
