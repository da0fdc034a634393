"""One owner of sync per store: an operating-system lock, and an epoch that every commit checks.

The lock alone does not do: a stopped process keeps it, but a filesystem or an administrator may not. The
epoch makes such a process's next commit fail instead of interleaving with its successor's.
"""

from __future__ import annotations

import os
import sys
import weakref
from typing import TYPE_CHECKING

from matrixdata.errors import StoreLocked

if TYPE_CHECKING:
    from pathlib import Path

if sys.platform != "win32":
    import fcntl


class Lease:
    """An exclusive lock on a file; the kernel frees it when its holder dies, however it dies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None
        _leases.add(self)

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._fd is not None

    def acquire(self) -> bool:
        """Take the lock if it is free; True when it is now ours. Never waits."""
        if self._fd is not None:
            return True
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
        try:
            _lock(fd)
        except OSError:
            os.close(fd)
            return False
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)  # for people and messages; the lock is what counts
        self._fd = fd
        return True

    def demand(self) -> None:
        """Take the lock or raise StoreLocked, naming the process that holds it."""
        if not self.acquire():
            raise StoreLocked(str(self.path.parent), pid=self.holder())

    def holder(self) -> int:
        """The process id the holder wrote; 0 when unknown."""
        try:
            text = self.path.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            return 0
        return int(text) if text.isdecimal() else 0

    def release(self) -> None:
        """Give the lock up; harmless when it is not held."""
        if self._fd is not None:
            if sys.platform != "win32":
                # Closing alone would leave the lock with a forked child that still has the file open.
                fcntl.flock(self._fd, fcntl.LOCK_UN)
            os.close(self._fd)
            self._fd = None

    def abandon(self) -> None:
        """In a forked child: let go of our copy of the file, so that the lock is the parent's alone."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


_leases: weakref.WeakSet[Lease] = weakref.WeakSet()


def _abandon_all() -> None:
    for lease in list(_leases):
        lease.abandon()


if hasattr(os, "register_at_fork"):
    # A child that outlives its parent must not keep the parent's locks.
    os.register_at_fork(after_in_child=_abandon_all)


def _lock(fd: int) -> None:
    if sys.platform == "win32":
        import msvcrt  # noqa: PLC0415  exists on Windows only

        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
