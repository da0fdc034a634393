"""How far account.db had got, kept in a file of its own: what vanishes from the end of it is noticed and named.

A -wal file that is deleted or cut short, or an old copy that is put back, leaves a database without a fault in it.
The mark is written after each commit and never before; it may lag behind after a power failure, and so may miss
a loss, but it never claims one that did not happen.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING
from zlib import crc32

import msgspec

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

_NOTHING = ("", 0, 0)


class Loss(msgspec.Struct, frozen=True):
    """What a database lacks of what was committed to it.

    Attributes:
        commits: how many.
        first, last: numbers of the records accepted in them; none where last < first.
    """

    commits: int
    first: int
    last: int

    @property
    def records(self) -> int:
        """How many records were accepted in those commits."""
        return max(0, self.last - self.first + 1)


class Mark:
    """The file beside one account.db."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._counted: tuple[str, int, int] = _NOTHING

    def count(self, c: sqlite3.Connection) -> None:
        """Inside each transaction, before its end."""
        c.execute("UPDATE mark SET commits = commits + 1")
        self._counted = reached(c)

    def save(self) -> None:
        """After its commit. A disk that refuses this has nevertheless stored the commit."""
        store, commits, sequence = self._counted
        if commits:
            text = f"{store} {commits:020d} {sequence:020d}"
            with suppress(OSError):
                self._write(f"{text} {crc32(text.encode()):08x}\n".encode())

    def _write(self, line: bytes) -> None:
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
        try:
            os.pwrite(fd, line, 0)  # in place and of one length: what is there is replaced whole
        finally:
            os.close(fd)

    def read(self) -> tuple[str, int, int]:
        """Name of the database, commits and the last record's number, as of the newest mark; nothing without one."""
        try:
            store, commits, sequence, checksum = self.path.read_text(encoding="ascii").split()
            text = f"{store} {commits} {sequence}"
            if int(checksum, 16) == crc32(text.encode()):
                return store, int(commits), int(sequence)
        except (OSError, ValueError):
            pass
        return _NOTHING

    def loss(self, marked: tuple[str, int, int], c: sqlite3.Connection) -> Loss | None:
        """What the database lacks of what was `marked` (read before it was opened); None when nothing."""
        store, commits, sequence = reached(c)
        if not marked[0]:
            return None
        if marked[0] != store:
            return Loss(marked[1], 1, marked[2])
        if marked[1] <= commits:
            return None
        return Loss(marked[1] - commits, sequence + 1, marked[2])

    def accept(self, c: sqlite3.Connection) -> None:
        """The loss has been told: what is here counts from now on."""
        self._counted = reached(c)
        self.path.unlink(missing_ok=True)
        self.save()


def reached(c: sqlite3.Connection) -> tuple[str, int, int]:
    """Name, commits and the number of the last record accepted, of a database as it is."""
    store, commits = c.execute("SELECT store, commits FROM mark").fetchone()
    row = c.execute("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").fetchone()
    return store, commits, row[0] if row else 0
