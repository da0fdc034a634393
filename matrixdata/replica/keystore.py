"""The part of account.db that is the encryption engine's. What stands in it is the engine's business alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from matrixdata.replica.database import Database
    from matrixdata.replica.lease import Lease

T = TypeVar("T")


class KeyStore:
    """Transactions for the engine.

    Args:
        lease: who holds it sends the engine's requests for all processes on the store.
    """

    def __init__(self, database: Database, lease: Lease) -> None:
        self._db = database
        self.lease = lease

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in a transaction; its result once that is committed, durably."""
        return await self._db.write(work)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on one committed moment."""
        return await self._db.read(work)

    def is_in_use(self) -> bool:
        """Whether secrets stand in it; where there is no event loop."""
        return self._db.at_once(lambda c: c.execute("SELECT 1 FROM olm_account").fetchone() is not None)

    async def sessions(self) -> set[tuple[str, str]]:
        """Room id and session id of every Megolm session that there is a key for."""
        query = "SELECT room_id, session_id FROM megolm_inbound"
        return set(await self._db.read(lambda c: c.execute(query).fetchall()))
