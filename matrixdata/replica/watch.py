"""Noticing that another process wrote to a SQLite file: one look costs microseconds and reads no page."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Watch:
    """A connection of its own that only ever asks for the file's data version; to be closed."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0)
        self._seen = self._version()

    def changed(self) -> bool:
        """Whether anybody, this process included, has committed something since the last look."""
        before, self._seen = self._seen, self._version()
        return self._seen is None or self._seen != before

    def _version(self) -> int | None:
        try:
            version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        except sqlite3.Error:
            return None  # busy or failing: whoever reads the file properly next will say which
        return version

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()
