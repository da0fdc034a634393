"""The library's log on stderr, for as long as a command runs. Secrets are never logged, whatever the level."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from matrixdata.cli.output import say

if TYPE_CHECKING:
    from collections.abc import Iterator

_log = logging.getLogger("matrixdata")
_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


class _OnStderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(self.format(record))


@contextmanager
def log_on_stderr() -> Iterator[None]:
    """Show what the library logs, from warnings on; afterwards the log is as it was."""
    handler = _OnStderr()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    before = _log.level
    _log.addHandler(handler)
    _log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        _log.removeHandler(handler)
        _log.setLevel(before)


def log_more(verbose: int) -> None:
    """Show more: 1 for what happens, 2 for everything."""
    _log.setLevel(_LEVELS[min(verbose, len(_LEVELS) - 1)])
