"""Locks that the operating system frees when their holder dies, however it dies.

`flock` on a file: unlike a pid file it cannot go stale, and unlike a pid it cannot be reused. A lock
belongs to the open file, so a child process that inherits the descriptor keeps it.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from matrixdata.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PAUSE = 0.02
_open: set[int] = set()


def try_lock(path: Path) -> int | None:
    """Take the lock on `path` for as long as the returned descriptor stays open; None if another has it."""
    return _flock(path, shared=False)


def is_held(path: Path) -> bool:
    """True while some process holds the lock on `path`."""
    # Asking with a shared lock, so that two who ask at once do not see each other.
    descriptor = _flock(path, shared=True) if path.exists() else None
    if descriptor is None:
        return path.exists()
    release(descriptor)
    return False


def release(descriptor: int) -> None:
    """Close a lock's descriptor. The lock is free once no process has it open any more."""
    _open.discard(descriptor)
    os.close(descriptor)


def take(path: Path, deadline: float) -> int | None:
    """Like `try_lock`, but wait until `deadline` (of `time.monotonic`)."""
    while (descriptor := try_lock(path)) is None and time.monotonic() < deadline:
        time.sleep(_PAUSE)
    return descriptor


def wait_free(path: Path, deadline: float) -> bool:
    """Wait until nobody holds the lock on `path`, or `deadline` (of `time.monotonic`); True if free."""
    while is_held(path):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_PAUSE)
    return True


@contextmanager
def holding(path: Path, deadline: float) -> Iterator[bool]:
    """Hold the lock on `path` inside the block; yields False if it could not be had until `deadline`."""
    descriptor = take(path, deadline)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            release(descriptor)


def _flock(path: Path, *, shared: bool) -> int | None:
    if sys.platform == "win32":
        raise Unsupported("the embedded homeserver", "Synapse does not run on Windows")
    import fcntl  # noqa: PLC0415  absent on Windows, where importing this module must still work

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    _open.add(descriptor)
    return descriptor


def _close_all() -> None:
    while _open:
        release(_open.pop())


if hasattr(os, "register_at_fork"):
    # A child that another thread forks meanwhile would otherwise keep our locks for its whole life.
    os.register_at_fork(after_in_child=_close_all)
