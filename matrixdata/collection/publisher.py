"""A publisher: for a stream of single readings, which share commits and leave in groups."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

from matrixdata.errors import ClientClosed, NotSent, Rejected

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from matrixdata.collection.ports import Services
    from matrixdata.publishing import AsyncReceipt


class AsyncPublisher:
    """Publishes a stream of single records in groups. Use it in an `async with` block; see `publisher`."""

    def __init__(
        self, services: Services, room_id: str, *, linger: float, size: int, timeout: float, batch: bool
    ) -> None:
        if not 0 <= linger <= 3600:
            raise ValueError(f"linger={linger!r}; it takes seconds, from 0 to 3600")
        if size < 1:
            raise ValueError(f"size={size!r}; it takes a number of records, at least 1")
        self._services = services
        self._room_id = room_id
        self._linger = linger
        self._size = size
        self._timeout = timeout
        self._batch = batch
        self._held = services.acceptance.held
        self._last: AsyncReceipt | None = None
        self._open = False

    def __repr__(self) -> str:
        return f"<Publisher, {len(self._held)} held, {'open' if self._open else 'closed'}>"

    async def __aenter__(self) -> AsyncPublisher:
        """Begin.

        Raises:
            RoomLeft, RoomReplaced: nothing can be published here.
        """
        self._services.check()
        await self._services.standing.check_writable(self._room_id)
        self._held.on_stored = self._services.sender.wake
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Store what is held, whatever ended the block; after an orderly end also wait until it is sent."""
        self._open = False
        with anyio.CancelScope(shield=True):
            await self._held.flush()
        if kind is None and self._last is not None:
            # Records of a room are sent in order: with the last, all have their outcome. A refused one is in the
            # outbox with the reason, as its receipt says.
            with suppress(Rejected, NotSent):
                await self._last.wait("sent", timeout=self._timeout)

    async def publish(self, record: Mapping[str, object]) -> AsyncReceipt:
        """Check a record and hold it for its group.

        Returns:
            Its receipt: "held" at first, which is not accepted yet; "queued" once it is durable.

        Raises:
            RecordInvalid, TooLarge: it is not held; every reason, with JSON Pointers.
            StoreFull: a full group could not be stored; this record is not held, those before it are.
        """
        self._services.check()
        if not self._open:
            raise ClientClosed("this publisher is closed; use it inside its with block")
        rules = await self._services.intake.rules(self._room_id)
        item = self._services.acceptance.prepare(
            record, room_id=self._room_id, rules=rules, alone=not self._batch
        )
        if len(self._held) >= self._size:
            await self._held.flush()
        linger = self._linger if len(self._held) + 1 < self._size else 0
        self._last = self._held.hold(item, linger=linger, together=self._batch)
        return self._last

    async def flush(self) -> None:
        """Store what is held now instead of after `linger` seconds; returns once it is durable.

        Raises:
            StoreFull: there is no room; it is still held, and tried again.
        """
        self._services.check()
        await self._held.flush()
