"""The store of one account: a directory with both databases and the locks over them.

account.db holds what no server can give back, replica.db what it can. A commit across two WAL files is not
atomic, so nothing may depend on both having been written: each pair of commits is ordered, and the second
is idempotent.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from matrixdata.replica.account import Account
from matrixdata.replica.cursor_leases import CursorLeases
from matrixdata.replica.database import Database
from matrixdata.replica.failures import Damaged
from matrixdata.replica.files import private_directory
from matrixdata.replica.footprint import EVERYTHING
from matrixdata.replica.jobs import Jobs
from matrixdata.replica.keystore import KeyStore
from matrixdata.replica.lease import Lease
from matrixdata.replica.mark import Mark
from matrixdata.replica.mounts import refuse_network
from matrixdata.replica.outbox import Outbox
from matrixdata.replica.quota import Quota
from matrixdata.replica.rooms import Rooms
from matrixdata.replica.salvage import finish, lost, salvage
from matrixdata.replica.sharing import Sharing
from matrixdata.replica.unread import Unread

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matrixdata.replica.footprint import Footprint


class Store:
    """Everything of one account on this machine.

    Args:
        footprint: how much it may keep.
        connect: `sqlite3.connect`, or what a test puts in its place.

    Raises:
        StoreCorrupt: account.db was damaged, or lost what was committed to it. What could be saved is saved, the
            message names what was not, and opening the store again goes on from there.
        StoreFull: the disk is full.
        Unsupported: the directory is on a network filesystem.
    """

    def __init__(
        self,
        directory: Path,
        *,
        footprint: Footprint = EVERYTHING,
        connect: Callable[..., Any] = sqlite3.connect,
    ) -> None:
        refuse_network(directory)
        self.directory = private_directory(directory)
        self.sync_lease = Lease(self.directory / "sync.lock")
        self.send_lease = Lease(self.directory / "send.lock")
        in_use = not self.send_lease.acquire()
        self.send_lease.release()
        self._account = self._precious(connect)
        try:
            self._replica = Database(
                self.directory / "replica.db", kind="replica", synchronous="NORMAL", precious=False,
                in_use=in_use, connect=connect,
            )  # fmt: skip
        except BaseException:
            self._account.close()
            raise
        self.account = Account(self._account, CursorLeases(self.directory / "cursors"))
        self.footprint = footprint
        self.outbox = Outbox(self._account, keep_sent=footprint.keep_sent)
        self.quota = Quota(self._account, self.directory, footprint)
        self.jobs = Jobs(self._account)
        self.rooms = Rooms(self._replica)
        self.unread = Unread(self._replica, self.rooms.on_commit)
        self.sharing = Sharing(self._replica)
        self.session_lease = Lease(self.directory / "session.lock")
        self.keys = KeyStore(self._account, Lease(self.directory / "keys.lock"))

    def __repr__(self) -> str:
        return f"<Store {self.directory}>"

    def _precious(self, connect: Callable[..., Any]) -> Database:
        path, mark = self.directory / "account.db", Mark(self.directory / "account.mark")
        finish(path)
        marked = mark.read()
        try:
            database = Database(path, kind="account", synchronous="FULL", mark=mark, connect=connect)
        except Damaged as damage:
            raise salvage(path, mark, damage) from damage
        missing = database.at_once(lambda c: lost(path, mark, marked, c))
        if missing is not None:
            database.close()
            raise missing
        return database

    @property
    def trouble(self) -> str | None:
        """Damage met since this was opened, and what was done about it."""
        replica, account = self._replica.trouble, self._account.trouble
        if account is not None:
            return f"{account}; connect again, which saves what can be read of it"
        if replica is not None:
            kept = f"; kept as {replica.kept}" if replica.kept else ""
            return f"{replica}{kept}; rebuilt from the server"
        return None

    async def aclose(self) -> None:
        """Close both databases and free the locks."""
        self.sync_lease.release()
        self.send_lease.release()
        self.account.cursor_leases.release()
        self.sharing.close()
        self.session_lease.release()
        self.keys.lease.release()
        await self._account.aclose()
        await self._replica.aclose()
