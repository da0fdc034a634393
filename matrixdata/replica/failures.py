"""What SQLite says when a file or a disk fails, in this library's errors. Decides nothing about what to do."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from matrixdata.errors import MatrixDataError, StoreCorrupt, StoreFull

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# https://www.sqlite.org/rescode.html. What a full disk, a quota, a limit on file sizes or a failing disk makes of
# a write; a journal's index that cannot grow or a journal that cannot be made is the same thing.
_FULL = (
    "SQLITE_FULL",
    "SQLITE_IOERR_WRITE",
    "SQLITE_IOERR_FSYNC",
    "SQLITE_IOERR_DIR_FSYNC",
    "SQLITE_IOERR_TRUNCATE",
    "SQLITE_IOERR_SHM",
    "SQLITE_IOERR_CLOSE",
)
# A disk that gives no answer at all (SQLITE_IOERR_READ) is not among these: what is on it may be whole.
# Python's own words: no text was ever stored that is not UTF-8.
_UNDECODABLE = "Could not decode to UTF-8"
_LITTLE = 1 << 16
_DAMAGE = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_IOERR_SHORT_READ")


class Damaged(StoreCorrupt):
    """Damage that was just met, so that whoever holds the file can mend it; to users it is a StoreCorrupt."""


@contextmanager
def mapped_errors(path: Path) -> Iterator[None]:
    """SQLite's errors as ours, with the file's name."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _mapped(error, path) from error


def _mapped(error: sqlite3.DatabaseError, path: Path) -> Exception:
    name = _name(error)
    if name.startswith(_FULL) or (name.startswith("SQLITE_CANTOPEN") and _no_room(path)):
        return StoreFull(
            f"{path.name} cannot be written ({error}): the disk is full or failing. Free some space; there is no "
            "need to connect again. What was not stored was not acknowledged."
        )
    if name.startswith(_DAMAGE) or (not name and _UNDECODABLE in str(error)):
        return Damaged(f"{path} is damaged ({error})", path=str(path))
    if isinstance(error, (sqlite3.IntegrityError, sqlite3.ProgrammingError)):
        return error
    return MatrixDataError(f"{path}: {error} ({name})")


def _no_room(path: Path) -> bool:
    """Whether that a file cannot be made is the disk's fault."""
    try:
        return shutil.disk_usage(path.parent).free < _LITTLE
    except OSError:
        return False


def is_mistake(error: sqlite3.DatabaseError) -> bool:
    """Whether one statement was wrong, and not the disk or the file."""
    return (
        isinstance(error, (sqlite3.IntegrityError, sqlite3.ProgrammingError))
        or _name(error) == "SQLITE_ERROR"
    )


def _name(error: sqlite3.DatabaseError) -> str:
    return getattr(error, "sqlite_errorname", None) or ""
