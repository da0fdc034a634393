"""The sync loop: polls, commits, wakes. One for each client, one at work for each store."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio

from matrixdata.errors import (
    ClientClosed,
    LoggedOut,
    MatrixDataError,
    NotSent,
    RateLimited,
    StoreLocked,
    Unknown,
    Unsupported,
)
from matrixdata.model.steps import reached
from matrixdata.receiving.outages import Outages
from matrixdata.receiving.sources import TokenRefused
from matrixdata.transport.caller import Backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from matrixdata.receiving.intake import Intake
    from matrixdata.receiving.sources import Source
    from matrixdata.replica.lease import Lease
    from matrixdata.replica.rooms import Rooms

log = logging.getLogger("matrixdata.receiving")

_LONG_POLL_MS = 30_000


class SyncLoop:
    """Keeps the rooms somebody asked for in step with the server.

    Args:
        choose_source: how to sync, given the kinds that turned out to be missing.
        on_gap: called with a room id when a response left events out.

    Attributes:
        failing: why the server was not reached at the last attempt; None when it was.
        fatal: why the loop ended; every later `follow` raises it.
    """

    def __init__(
        self,
        rooms: Rooms,
        intake: Intake,
        lease: Lease,
        *,
        choose_source: Callable[[Collection[str]], Awaitable[Source]],
        chance: Callable[[], float],
        clock: Callable[[], int],
        on_change: Callable[[], None],
        on_gap: Callable[[str], None],
    ) -> None:
        self._rooms = rooms
        self._intake = intake
        self._lease = lease
        self._choose_source = choose_source
        self._chance = chance
        self._clock = clock
        self._on_change = on_change
        self._on_gap = on_gap
        self._wanted: set[str] = set()
        self._live: set[str] = set()
        self._changed = anyio.Event()
        self._poll = anyio.CancelScope()
        self.outages = Outages()
        self.failing: MatrixDataError | None = None
        self.fatal: MatrixDataError | None = None
        self.last_answer: int | None = None
        """When the server last answered, microseconds since 1970 UTC."""

    @property
    def live(self) -> frozenset[str]:
        """Rooms that have been in step since this client asked for them."""
        return frozenset(self._live)

    async def follow(self, room_id: str, *, timeout: float | None = None) -> bool:
        """Keep a room in step from now on; True once it is, False after `timeout` seconds without that.

        Raises:
            LoggedOut, StoreLocked, Unsupported: this client cannot sync.
        """
        if self.fatal is not None:
            raise self.fatal
        if room_id not in self._wanted:
            self._lease.demand()
            self._wanted.add(room_id)
            self._poll.cancel()  # a long poll under way does not cover the room
            self._notify()
        with anyio.move_on_after(timeout):
            while room_id not in self._live:
                if self.fatal is not None:
                    raise self.fatal
                await self._changed.wait()
        return room_id in self._live

    def forget(self, room_id: str) -> None:
        """Stop following a room, as after leaving it."""
        self._wanted.discard(room_id)
        self._live.discard(room_id)

    async def run(self) -> None:
        """Sync for as long as it is not cancelled, or until it cannot go on: then `fatal` says why."""
        while not self._wanted:
            await self._changed.wait()
        try:
            await self._lead()
        except MatrixDataError as error:
            log.warning("syncing ended: %s", error)
            self.fail(error)

    def fail(self, error: MatrixDataError) -> None:
        """End syncing for a reason; whoever waits for it meets that reason."""
        self.fatal = error
        self._notify()

    async def _lead(self) -> None:
        await self._rooms.lead()
        await self._intake.reconcile()
        backoff, failures, source = Backoff(), 0, None
        lacking: set[str] = set()
        while True:
            try:
                source = source or await self._choose_source(lacking)
                await self._round(source)
            except (LoggedOut, StoreLocked, ClientClosed):
                raise
            except MatrixDataError as error:
                # The network, the server, or our disk: each may be well again without anybody restarting us.
                failures += 1
                log.info("sync failed (%s), attempt %d", error, failures)
                if isinstance(error, Unsupported) and source is not None:
                    # What probing promised is not there, as behind a proxy that knows other paths only.
                    lacking.add(source.kind)
                    source = None
                self.failing = error
                self._notify()
                pause = error.retry_after if isinstance(error, RateLimited) else 0.0
                await anyio.sleep(max(pause, backoff.delay(failures, self._chance)))
            else:
                failures = 0

    async def _round(self, source: Source) -> None:
        """One poll and its commit. Cancelling the poll loses nothing; the commit is never cancelled."""
        wanted = frozenset(self._wanted)
        token = await self._rooms.token(source.kind)
        # After a failure, at once: that all is well again must not wait for the next news.
        timeout_ms = _LONG_POLL_MS if wanted <= self._live and self.failing is None else 0
        batch = None
        with anyio.CancelScope() as self._poll:
            if wanted == self._wanted:
                try:
                    batch = await source.poll(token, wanted, timeout_ms=timeout_ms)
                except TokenRefused as error:
                    log.info("starting sync anew: %s", error)
                    await self._rooms.apply([], tokens={source.kind: None})
                    return
        if batch is None:
            return
        reached("read.1 received")
        if isinstance(self.failing, (NotSent, Unknown)):
            # Before the commit: readers are told of the outage before they get what was missed in it.
            self.outages.ended(self.last_answer, str(self.failing))
        await self._intake.sync(batch, kind=source.kind, token=batch.token)
        self.failing, self.last_answer = None, self._clock()
        self._live |= wanted & self._wanted
        self._notify()
        reached("read.4 woken")
        for room in batch.rooms:
            if room.limited:
                self._on_gap(room.room_id)

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
        self._on_change()
