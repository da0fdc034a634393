"""One owner for each named cursor: a lock file a name, freed by the operating system when its holder dies.

The files stay: removing one would let a waiting opener lock a file that nobody else can see any more.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from matrixdata.errors import CursorLocked
from matrixdata.replica.lease import Lease

if TYPE_CHECKING:
    from pathlib import Path


class CursorLeases:
    """Who uses which cursor of one store, across processes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._held: set[Lease] = set()

    def claim(self, room_id: str, name: str) -> Lease:
        """Take the cursor of that name, for `drop` to give back.

        Raises:
            CursorLocked: a subscription has it, in this process or another.
        """
        self._directory.mkdir(mode=0o700, exist_ok=True)
        # Hashed: a cursor's name is any text, a file's is not.
        file = hashlib.sha256(f"{room_id}\0{name}".encode("utf-8", "surrogatepass")).hexdigest()[:32]
        lease = Lease(self._directory / f"{file}.lock")
        if not lease.acquire():
            pid = lease.holder()
            raise CursorLocked(str(self._directory.parent), name, pid=pid, here=pid == os.getpid())
        self._held.add(lease)
        return lease

    def drop(self, lease: Lease) -> None:
        """Give a cursor back."""
        lease.release()
        self._held.discard(lease)

    def release(self) -> None:
        """Give all of them back: the store is being closed."""
        while self._held:
            self._held.pop().release()
