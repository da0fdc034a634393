"""Noticing that another process wrote to a SQLite file: one look costs microseconds and reads no page."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from matrixdata.replica.files import file_id

if TYPE_CHECKING:
    from pathlib import Path


class Watch:
    """A connection of its own that only ever asks for the file's data version; to be closed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._seen: tuple[tuple[int, int] | None, int] | None = None

    def changed(self) -> bool:
        """Whether anybody, this process included, has committed something since the last look; True at the first.

        So it is where another file took this one's place, as when a damaged one was put aside.
        """
        before, self._seen = self._seen, self._look()
        return self._seen is None or self._seen != before

    def _look(self) -> tuple[tuple[int, int] | None, int] | None:
        try:
            file = file_id(self._path)
            if self._connection is None or file != self._file:
                self.close()
                address = f"{self._path.as_uri()}?mode=ro"
                self._connection = sqlite3.connect(address, uri=True, timeout=0, check_same_thread=False)
                self._file = file
            version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        except sqlite3.Error:
            return None  # busy or failing: whoever reads the file properly next will say which
        return file, version

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
