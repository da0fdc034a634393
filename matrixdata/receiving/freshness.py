"""Is the replica in step with the server? Following rooms, catching up to now, completing the past."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from matrixdata.errors import MatrixDataError, NotSent, Rejected, Unknown
from matrixdata.model.member import event_of
from matrixdata.protocol.requests import event, messages
from matrixdata.protocol.sync import MalformedResponse, parse_messages

if TYPE_CHECKING:
    from collections.abc import Callable

    from matrixdata.errors import ServerRolledBack
    from matrixdata.receiving.backfill import Backfill, SyncProgress
    from matrixdata.receiving.feed import Feed
    from matrixdata.receiving.outages import Outages
    from matrixdata.receiving.syncing import SyncLoop
    from matrixdata.replica.rooms import Rooms
    from matrixdata.transport.caller import Caller


class Freshness:
    """Answers for one client: what readers wait for before they read."""

    def __init__(self, caller: Caller, rooms: Rooms, loop: SyncLoop, backfill: Backfill, feed: Feed) -> None:
        self._caller = caller
        self._rooms = rooms
        self._loop = loop
        self._backfill = backfill
        self._feed = feed

    def check(self) -> None:
        """Raise why syncing ended, if it did."""
        if self._loop.fatal is not None:
            raise self._loop.fatal

    @property
    def outages(self) -> Outages:
        """Outages of the server that are over."""
        return self._loop.outages

    def in_step(self, room_id: str) -> bool:
        """Whether the room is followed and the server answered at the last attempt."""
        return room_id in self._loop.live and self._loop.failing is None

    def set_back(self, room_id: str) -> ServerRolledBack | None:
        """The last time the server was found to have forgotten events of a room; None before."""
        return self._loop.set_back_in(room_id)

    async def follow(self, room_id: str, *, timeout: float | None = None) -> bool:
        """Keep the room in step from now on, its past completed in the background; True once it is live."""
        live = await self._loop.follow(room_id, timeout=timeout)
        if live and await self._rooms.gaps(room_id):
            self._backfill.ask(room_id)
        return live

    def forget(self, room_id: str) -> None:
        """Stop following a room that was left."""
        self._loop.forget(room_id)

    async def catch_up(self, room_id: str, *, timeout: float) -> bool:
        """Wait until the replica holds what the server has now; False if that could not be known in time.

        One cheap request asks for the room's newest event; the long poll that is under way brings it.
        """
        with anyio.move_on_after(timeout):
            try:
                page = parse_messages(
                    await self._caller.call(messages(room_id, start=None, limit=1), patience=timeout)
                )
            except (NotSent, Unknown, Rejected, MalformedResponse):
                return False
            newest = [found.event_id for found in page.events]
            while True:
                changed = self._feed.watch()
                if await self._rooms.has_events(newest) == set(newest):
                    return True
                await changed.wait()
        return False

    async def reach(self, room_id: str, key: str) -> int | None:
        """The position of an event, or of a record in one, with all behind it fetched; None if it is nowhere.

        Raises:
            NotSent, Unknown, RateLimited: the server was not reached.
        """
        if not await self._rooms.has_events([key]):
            try:
                await self._caller.call(event(room_id, event_of(key)))
            except Rejected:
                return None  # so that not the whole history is fetched in search of it
        return await self._backfill.reach(room_id, key)

    async def complete(
        self,
        room_id: str,
        *,
        back_to: int | None = None,
        progress: Callable[[SyncProgress], None] | None = None,
    ) -> None:
        """Fetch what is missing of the room's past, back to a time (ms since 1970) or to its start."""
        await self._backfill.complete(room_id, back_to=back_to, progress=progress)

    async def ready(
        self,
        room_id: str,
        *,
        timeout: float,
        progress: Callable[[SyncProgress], None] | None = None,
    ) -> bool:
        """What a query waits for: live, caught up, and short gaps filled, within `timeout` seconds in all.

        Args:
            room_id: of which room.
            timeout: 0 asks nobody.
            progress: told while gaps are filled.

        Returns:
            Whether the replica holds all that the server had when asked. Never raises for an unreachable
            server: the replica is there to be read without one.
        """
        if timeout <= 0:
            return False
        fresh = False
        with anyio.move_on_after(timeout):
            try:
                fresh = await self.follow(room_id) and await self.catch_up(room_id, timeout=timeout)
                if fresh and await self._rooms.gaps(room_id):
                    await self._backfill.complete(room_id, patience=timeout, progress=progress)
            except MatrixDataError:
                # Unreachable or logged out: what is here can be read all the same.
                return False
        return fresh
