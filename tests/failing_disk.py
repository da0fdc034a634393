"""A disk that fails when it is told to, under SQLite: a VFS of apsw's, behind the few calls that the library makes.

`FailingDisk.connect` stands in for `sqlite3.connect`. It is another build of SQLite than Python's own; what is tested
with it is what we do around SQLite, not SQLite.
"""

from __future__ import annotations

import itertools
import sqlite3
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import apsw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_names = itertools.count(1)


class FailingDisk:
    """Counts writes and syncs; from number `first` to `last` they fail.

    Attributes:
        log: "write" or "sync" for each so far.
    """

    def __init__(self, first: int = 0, last: int = -1) -> None:
        self.first, self.last = first, last
        self.log: list[str] = []
        self.name = f"failing-{next(_names)}"
        self._vfs = _VFS(self)

    def passing(self, what: str) -> None:
        """Called before each write and sync."""
        self.log.append(what)
        if self.first <= len(self.log) <= self.last:
            code = apsw.SQLITE_IOERR_FSYNC if what == "sync" else apsw.SQLITE_FULL
            raise apsw.exception_for(code)

    def connect(self, address: str, **_: Any) -> _Connection:
        return _Connection(address, self.name)

    def close(self) -> None:
        self._vfs.unregister()


class _VFS(apsw.VFS):
    def __init__(self, disk: FailingDisk) -> None:
        self.disk = disk
        super().__init__(disk.name, "")

    def xOpen(self, name: Any, flags: list[int]) -> _File:  # noqa: N802  apsw's name
        return _File(self.disk, name, flags)


class _File(apsw.VFSFile):
    def __init__(self, disk: FailingDisk, name: Any, flags: list[int]) -> None:
        self.disk = disk
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802  apsw's name
        self.disk.passing("write")
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:  # noqa: N802  apsw's name
        self.disk.passing("write")
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:  # noqa: N802  apsw's name
        self.disk.passing("sync")
        super().xSync(flags)


@contextmanager
def _as_sqlite3() -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        code = getattr(error, "extendedresult", 0) or error.result
        kind = sqlite3.IntegrityError if isinstance(error, apsw.ConstraintError) else sqlite3.OperationalError
        translated = kind(str(error))
        names = {**apsw.mapping_result_codes, **apsw.mapping_extended_result_codes}
        translated.sqlite_errorname = names[code]
        raise translated from error


class _Connection:
    """What sqlite3.Connection offers, as far as the library uses it."""

    def __init__(self, uri: str, vfs: str) -> None:
        flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_URI
        with _as_sqlite3():
            self._inner = apsw.Connection(uri, flags=flags, vfs=vfs)
            self._inner.set_busy_timeout(10_000)
            self._inner.execute(
                "PRAGMA wal_autocheckpoint = 12"
            )  # so that the main file is written to as well

    def execute(self, sql: str, values: Sequence[Any] = ()) -> _Cursor:
        with _as_sqlite3():
            rows = self._inner.execute(sql, tuple(values)).fetchall()
        return _Cursor(rows, self._inner.last_insert_rowid(), self._inner.changes())

    def executemany(self, sql: str, many: Sequence[Sequence[Any]]) -> _Cursor:
        with _as_sqlite3():
            self._inner.executemany(sql, many)
        return _Cursor([], self._inner.last_insert_rowid(), self._inner.changes())

    def create_function(
        self, name: str, count: int, work: Callable[..., Any], *, deterministic: bool
    ) -> None:
        self._inner.create_scalar_function(name, work, count, deterministic=deterministic)

    def set_progress_handler(self, *_: Any) -> None:
        pass

    @property
    def in_transaction(self) -> bool:
        return self._inner.in_transaction

    @property
    def total_changes(self) -> int:
        return self._inner.total_changes()

    def rollback(self) -> None:
        if self.in_transaction:
            self.execute("ROLLBACK")

    def close(self) -> None:
        with suppress(apsw.Error):  # as sqlite3 does: what could not be tidied up at the end is no loss
            self._inner.close()


class _Cursor:
    def __init__(self, rows: list[Any], lastrowid: int, rowcount: int) -> None:
        self._rows = iter(rows)
        self.lastrowid, self.rowcount = lastrowid, rowcount

    def __iter__(self) -> Iterator[Any]:
        return self._rows

    def fetchone(self) -> Any:
        return next(self._rows, None)

    def fetchall(self) -> list[Any]:
        return list(self._rows)

    def fetchmany(self, size: int) -> list[Any]:
        return list(itertools.islice(self._rows, size))
