"""The store of one account: a directory with both databases and the locks over them.

account.db holds what no server can give back, replica.db what it can. A commit across two WAL files is not
atomic, so nothing may depend on both having been written: each pair of commits is ordered, and the second
is idempotent.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from matrixdata.errors import MatrixDataError
from matrixdata.replica.account import Account
from matrixdata.replica.cursor_leases import CursorLeases
from matrixdata.replica.database import Database
from matrixdata.replica.jobs import Jobs
from matrixdata.replica.lease import Lease
from matrixdata.replica.outbox import Outbox
from matrixdata.replica.rooms import Rooms
from matrixdata.replica.sharing import Sharing


class Store:
    """Everything of one account on this machine."""

    def __init__(self, directory: Path) -> None:
        self.directory = private_directory(directory)
        self._account = Database(self.directory / "account.db", kind="account", synchronous="FULL")
        self._replica = Database(self.directory / "replica.db", kind="replica", synchronous="NORMAL")
        self.account = Account(self._account, CursorLeases(self.directory / "cursors"))
        self.outbox = Outbox(self._account)
        self.jobs = Jobs(self._account)
        self.rooms = Rooms(self._replica)
        self.sharing = Sharing(self._replica)
        self.sync_lease = Lease(self.directory / "sync.lock")
        self.send_lease = Lease(self.directory / "send.lock")
        self.session_lease = Lease(self.directory / "session.lock")

    def __repr__(self) -> str:
        return f"<Store {self.directory}>"

    async def aclose(self) -> None:
        """Close both databases and free the locks."""
        self.sync_lease.release()
        self.send_lease.release()
        self.account.cursor_leases.release()
        self.sharing.close()
        self.session_lease.release()
        await self._account.aclose()
        await self._replica.aclose()


def private_directory(directory: Path) -> Path:
    """Make (if needed) a directory that only its owner can enter, whatever the umask.

    Raises:
        MatrixDataError: it is a symbolic link, belongs to another user, or others can write to it.
    """
    directory = Path(directory).expanduser().absolute()
    directory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        info = directory.lstat()
        if not stat.S_ISDIR(info.st_mode):
            raise MatrixDataError(f"{directory} is not a directory; give another store=") from None
        if hasattr(os, "getuid") and info.st_uid != os.getuid():
            raise MatrixDataError(f"{directory} belongs to another user; give another store=") from None
        directory.chmod(0o700)
    return directory
