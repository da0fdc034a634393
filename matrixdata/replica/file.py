"""One SQLite file on a disk: opened, checked, brought to the newest format; found moved or damaged, and mended."""

from __future__ import annotations

import logging
import sqlite3
import time
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from matrixdata.errors import StoreCorrupt, StoreFull, Unsupported
from matrixdata.replica import files
from matrixdata.replica.failures import Damaged, mapped_errors
from matrixdata.replica.migrating import migrate, steps
from matrixdata.replica.sums import register

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = logging.getLogger("matrixdata.replica")

# A whole check reads 290 MB/s (measured): at every opening it is for files where nobody notices.
_SMALL = 2_000_000
_BUDGET = 0.5
_STEPS = 20_000


class StoreFile(msgspec.Struct, frozen=True):
    """Where a database lives and what is promised of it.

    Attributes:
        kind: "account" or "replica": which migrations make it.
        precious: no server can give it back: it is checked whole at every opening, and never replaced here.
        in_use: another process is at work on it, and checked it when it opened it.
        connect: `sqlite3.connect`, or what a test puts in its place.
    """

    path: Path
    kind: str
    synchronous: Literal["FULL", "NORMAL"]
    precious: bool = True
    in_use: bool = False
    connect: Callable[..., Any] = sqlite3.connect

    def open(self) -> tuple[sqlite3.Connection, Damaged | None]:
        """A connection that may write, to a file that is sound as far as was looked; and why it is a new one.

        Raises:
            Damaged: it is not sound, and precious.
            StoreCorrupt: a newer version wrote it.
            StoreFull: the disk is full.
            Unsupported: Python's SQLite is too old.
        """
        if sqlite3.sqlite_version_info < (3, 37):
            raise Unsupported(
                "the local store", f"SQLite 3.37 or later; this Python has {sqlite3.sqlite_version}"
            )
        files.private_database(self.path)
        found = files.file_id(self.path)
        try:
            return self._sound(), None
        except Damaged as damage:
            if self.precious:
                raise
            self.replace(damage, found)
            files.private_database(self.path)
            return self._sound(), damage

    def replace(self, damage: Damaged, found: tuple[int, int] | None) -> None:
        """Put the damaged file aside, unless another process has done so since it was `found`.

        Raises:
            StoreFull: the disk does not let us.
        """
        try:
            with files.mending(self.path.parent):
                if files.file_id(self.path) == found:
                    kept = files.put_aside(self.path)
                    files.forget_older(self.path, kept)
                    damage.kept = str(kept)
                    log.warning("%s; kept as %s, and rebuilt from the server", damage, kept.name)
        except OSError as error:
            raise StoreFull(f"{self.path} is damaged and cannot be put aside: {error}") from error

    def reader(self) -> sqlite3.Connection:
        """A connection that cannot write."""
        with mapped_errors(self.path):
            connection = self._connect()
            connection.execute("PRAGMA query_only = ON")
            return connection

    def _sound(self) -> sqlite3.Connection:
        with mapped_errors(self.path):
            connection = self._connect()
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                self._check(connection)
                migrate(connection, steps(self.kind), self.path)
            except BaseException:
                connection.close()
                raise
            return connection

    def _check(self, connection: sqlite3.Connection) -> None:
        """Look for damage: through all of a precious or small file, and for a while after an unclean end."""
        journal = self.path.with_name(self.path.name + "-wal")
        unclean = journal.exists() and journal.stat().st_size > 0 and not self.in_use
        if not (self.precious or unclean or self.path.stat().st_size < _SMALL):
            return
        end = time.monotonic() + _BUDGET
        if not self.precious:
            connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
        try:
            found = connection.execute("PRAGMA quick_check(1)").fetchall()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_INTERRUPT":
                raise
            return  # the rest is checked when it is read
        finally:
            connection.set_progress_handler(None, 0)
        if found != [("ok",)]:
            raise Damaged(f"{self.path} is damaged ({found[0][0]})", path=str(self.path))

    def _connect(self) -> sqlite3.Connection:
        connection: sqlite3.Connection = self.connect(
            # Never made here: SQLite would make it readable by others.
            f"{self.path.absolute().as_uri()}?mode=rw",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=10,
        )
        try:
            connection.execute(f"PRAGMA synchronous = {self.synchronous}")
            connection.execute("PRAGMA secure_delete = ON")  # redacted content must leave the file
            connection.execute("PRAGMA temp_store = MEMORY")  # and must not pass through a temporary one
            register(connection)
        except BaseException:
            connection.close()
            raise
        return connection


def gone(path: Path) -> StoreCorrupt:
    """The error for a precious file that was taken away while it was in use."""
    return StoreCorrupt(
        f"{path} was removed while it was in use; put it back, or connect again", path=str(path)
    )
