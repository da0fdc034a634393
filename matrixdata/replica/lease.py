"""One owner of a task per store: an operating-system lock, and a pulse that shows its holder is at work.

The lock alone does not do: a stopped process keeps it (measured), as does a forked child of a dead one. So the
holder writes a pulse, and who sees it stand still may take over. What keeps two from both acting is not this
file but the epoch that every commit of the sync loop checks (`Rooms.lead`).
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING
from weakref import WeakSet

from matrixdata.errors import StoreFull

if TYPE_CHECKING:
    from pathlib import Path

if sys.platform != "win32":
    import fcntl

# Looks in a row that find the pulse unmoved before the holder counts as stopped. Looks, not seconds: a laptop
# that slept finds holder and watcher both late.
SILENCE = 12
_WIDTH = 40
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)


class Lease:
    """An exclusive lock on a file; the kernel frees it when its holder dies, however it dies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None
        self._usurped = False
        self._pulse = 0
        self._last = ""
        self._heard: tuple[str, int] = ("", 0)
        _leases.add(self)

    @property
    def held(self) -> bool:
        """Whether this object holds the lock, or took over from a holder that stands still."""
        return self._fd is not None or self._usurped

    def acquire(self) -> bool:
        """Take the lock if it is free; True when it is now ours. Never waits."""
        if self._fd is None:
            try:
                fd = os.open(self.path, os.O_RDWR | os.O_CREAT | _NOFOLLOW, 0o600)
            except OSError as error:
                raise StoreFull(
                    f"{self.path} cannot be opened ({error.strerror}); free some space"
                ) from error
            try:
                _lock(fd)
            except OSError:
                os.close(fd)
                return False
            self._fd, self._usurped = fd, False
            self._say()
        return True

    def look(self) -> bool:
        """Like `acquire`, but take over from a holder whose pulse stood still for `SILENCE` looks in a row."""
        if self.acquire():
            return True
        said, times = self._said(), self._heard[1]
        self._heard = (said, times + 1 if said == self._heard[0] else 1)
        if self._heard[1] > SILENCE:
            self._usurped, self._heard = True, ("", 0)
            self._say()
        return self.held

    def beat(self) -> bool:
        """Show that the holder is at work; False when another has taken over meanwhile, and it is held no more."""
        if self.held and self._said() != self._last:
            self.release()
        if self.held:
            self.acquire()  # a lock that came free after we had taken over
            self._say()
        return self.held

    def _say(self) -> None:
        self._pulse += 1
        self._last = f"{os.getpid()} {self._pulse}"
        with suppress(OSError):  # as on a full disk: who cannot show a pulse is replaced
            fd = self._fd if self._fd is not None else os.open(self.path, os.O_RDWR | _NOFOLLOW)
            try:
                os.pwrite(fd, self._last.ljust(_WIDTH).encode(), 0)
            finally:
                if fd != self._fd:
                    os.close(fd)

    def holder(self) -> int:
        """The process id the holder wrote; 0 when unknown."""
        pid = self._said().partition(" ")[0]
        return int(pid) if pid.isdecimal() else 0

    def _said(self) -> str:
        with suppress(OSError, UnicodeDecodeError):
            return self.path.read_text(encoding="ascii").strip()
        return ""

    def release(self) -> None:
        """Give it up; harmless when it is not held."""
        self._usurped = False
        if self._fd is not None:
            if sys.platform != "win32":
                # Closing alone would leave the lock with a forked child that still has the file open.
                fcntl.flock(self._fd, fcntl.LOCK_UN)
            os.close(self._fd)
            self._fd = None

    def _forget(self) -> None:
        """In a forked child: let go of the file, which leaves the parent its lock."""
        self._usurped = False
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


_leases: WeakSet[Lease] = WeakSet()


def _after_fork() -> None:
    for lease in list(_leases):
        lease._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _lock(fd: int) -> None:
    if sys.platform == "win32":
        import msvcrt  # noqa: PLC0415  exists on Windows only

        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
