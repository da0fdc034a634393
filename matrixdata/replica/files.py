"""Files and directories that are their owner's alone, whatever the umask, and damaged ones put aside.

Must never open a database's file itself: closing it would free the locks that SQLite holds on it for this process.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from matrixdata.errors import MatrixDataError, StoreFull

if TYPE_CHECKING:
    from collections.abc import Iterator

if sys.platform != "win32":
    import fcntl

_OTHERS = 0o077
_BESIDE = ("-shm", "-wal", "")  # the main file last: alone, it is what its last checkpoint left


def private_directory(directory: Path) -> Path:
    """Make (if needed) a directory that only its owner can enter, whatever the umask; its missing parents too.

    Raises:
        MatrixDataError: it is a symbolic link, or belongs to another user.
        StoreFull: there is no room to make it.
    """
    directory = Path(directory).expanduser().absolute()
    for missing in [each for each in (*reversed(directory.parents), directory) if not each.exists()]:
        try:
            missing.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            if isinstance(error, FileExistsError):  # a symbolic link to nothing, or a file
                break
            raise StoreFull(f"{missing} cannot be made ({error.strerror}); give another store=") from error
    info = directory.lstat()
    if not stat.S_ISDIR(info.st_mode):
        raise MatrixDataError(f"{directory} is not a directory; give another store=")
    _check_owner(directory, info)
    if info.st_mode & _OTHERS:
        directory.chmod(0o700)
    return directory


def private_database(path: Path) -> None:
    """Make (if needed) a database's file, its owner's alone; SQLite makes the files beside it like it.

    Raises:
        MatrixDataError: it, or a file beside it, is a symbolic link or belongs to another user.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise StoreFull(f"{path} cannot be made ({error.strerror}); free some space") from error
    for each in _files(path):
        with suppress(FileNotFoundError):
            info = each.lstat()
            if not stat.S_ISREG(info.st_mode):
                raise MatrixDataError(f"{each} is not a plain file; remove it, or give another store=")
            _check_owner(each, info)
            if info.st_mode & _OTHERS:
                each.chmod(0o600)


def _check_owner(path: Path, info: os.stat_result) -> None:
    if sys.platform != "win32" and info.st_uid != os.getuid():
        raise MatrixDataError(f"{path} belongs to another user; give another store=")


def file_id(path: Path) -> tuple[int, int] | None:
    """What tells this file from another that took its name; None where there is none."""
    try:
        info = os.stat(path)  # noqa: PTH116  half the time of Path.stat, before every read and write
    except FileNotFoundError:
        return None
    return info.st_dev, info.st_ino


def put_aside(path: Path) -> Path:
    """Rename a damaged database and the files beside it; the name it has from now on.

    Whoever still has it open goes on with it under its new name and, once closed, leaves the new files alone.
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    kept = path.with_name(f"{path.name}.damaged-{stamp}")
    number = 1
    while kept.exists():
        number += 1
        kept = path.with_name(f"{path.name}.damaged-{stamp}-{number}")
    for each, to in zip(_files(path), _files(kept), strict=True):
        with suppress(FileNotFoundError):
            each.rename(to)
    return kept


def forget_older(path: Path, kept: Path) -> None:
    """Remove earlier damaged copies of a file that the server can give back: they would only fill the disk."""
    for each in path.parent.glob(f"{path.name}.damaged-*"):
        if not each.name.startswith(kept.name):
            each.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Remove a database and the files beside it."""
    for each in _files(path):
        each.unlink(missing_ok=True)


@contextmanager
def mending(directory: Path) -> Iterator[None]:
    """One process at a time mends a store's files."""
    fd = os.open(directory / "mend.lock", os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        _lock(fd)
        yield
    finally:
        os.close(fd)


def _files(path: Path) -> list[Path]:
    return [path.with_name(path.name + suffix) for suffix in _BESIDE]


def _lock(fd: int) -> None:
    """Wait for as long as it takes; closing the file, or dying, frees it."""
    if sys.platform == "win32":
        import msvcrt  # noqa: PLC0415  exists on Windows only

        msvcrt.locking(fd, msvcrt.LK_LOCK, 1)
    else:
        fcntl.flock(fd, fcntl.LOCK_EX)
