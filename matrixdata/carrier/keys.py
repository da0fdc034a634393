"""The encryption engine on its store: each of its verbs runs in one transaction of account.db, off the event loop."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

import anyio
import anyio.to_thread

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Awaitable, Callable

    from matrixdata.encryption.engine import Engine
    from matrixdata.encryption.port import Received
    from matrixdata.encryption.transaction import Transaction
    from matrixdata.model.session import Session
    from matrixdata.replica.keystore import KeyStore

T = TypeVar("T")
log = logging.getLogger("matrixdata.carrier")


class Keys:
    """The engine of one client.

    Args:
        who: the session now; another device begins anew.
        pickle_key: the 32 bytes that seal what is secret in the store; asked for once, on a worker thread.
        clock: microseconds since 1970 UTC.
        new_id: fresh ids of at least 128 random bits, safe in URLs.

    Attributes:
        problem: what only the user can mend, in a sentence; "" when nothing is known.
        on_received: awaited with what changed: keys that came, users whose devices became known.
    """

    def __init__(
        self,
        store: KeyStore,
        *,
        who: Callable[[], Session],
        pickle_key: Callable[[], bytes],
        clock: Callable[[], int],
        new_id: Callable[[], str],
    ) -> None:
        self._store = store
        self._who = who
        self._pickle_key = pickle_key
        self._clock = clock
        self._new_id = new_id
        self._engine: Engine | None = None
        self._device: tuple[str, str] | None = None
        self._opening = anyio.Lock()
        self.problem = ""
        self.wake: Callable[[], None] = lambda: None
        """There may be something to send; the courier puts itself here."""
        self.on_received: list[Callable[[Received], Awaitable[None]]] = []

    async def engine(self) -> Engine:
        """The engine, opened: this device has keys in the store.

        Raises:
            StoreFull, StoreCorrupt: as every use of the store.
        """
        session = self._who()
        device = (session.user_id, session.device_id)
        async with self._opening:
            if self._engine is None or self._device != device:
                self._engine, self._device = await self._opened(*device), device
            return self._engine

    async def _opened(self, user_id: str, device_id: str) -> Engine:
        # The cryptography is loaded by who connects, not by who imports matrixdata.
        from matrixdata.encryption.engine import Engine  # noqa: PLC0415  as said above
        from matrixdata.encryption.transaction import Me  # noqa: PLC0415  likewise

        key = await anyio.to_thread.run_sync(self._pickle_key)
        engine = Engine(Me(user_id, device_id, key, self._clock, self._new_id))
        await self._store.write(engine.open)
        return engine

    async def write(self, verb: Callable[[Engine, sqlite3.Connection], T]) -> T:
        """Run a verb that may change something; its result once that is committed."""
        engine = await self.engine()
        return await self._store.write(lambda c: verb(engine, c))

    async def tell(self, received: Received) -> None:
        """Something changed that others wait for; to be called once it is committed."""
        if received.problem:
            self.problem = received.problem
            log.warning("%s", received.problem)
        if received.sessions or received.users or received.waiting:
            for listener in self.on_received:
                await listener(received)

    async def read(self, verb: Callable[[Engine, sqlite3.Connection], T]) -> T:
        """Run a verb that changes nothing."""
        engine = await self.engine()
        return await self._store.read(lambda c: verb(engine, c))

    async def transact(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in a transaction of the engine; its result once that is committed."""
        return await self.write(lambda engine, c: work(engine.transaction(c)))

    async def look(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` on one committed moment."""
        return await self.read(lambda engine, c: work(engine.transaction(c)))
