"""The sync loop: polls, commits, wakes. One for each client, one at work for each store.

Of the processes on a store one leads: it alone asks the server's sync endpoints, for every room that any of them
wants. The others tell it what they want and read what it commits. When it ends, or stands still, another leads.
"""

from __future__ import annotations

import itertools
import logging
import os
from typing import TYPE_CHECKING

import anyio

from matrixdata.errors import (
    ClientClosed,
    LoggedOut,
    MatrixDataError,
    NotSent,
    StoreFull,
    StoreLocked,
    Unknown,
    Unsupported,
)
from matrixdata.model.steps import reached
from matrixdata.receiving.outages import Outages
from matrixdata.receiving.sources import TokenRefused
from matrixdata.replica.sharing import Shared
from matrixdata.transport.caller import Backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from matrixdata.errors import ServerRolledBack
    from matrixdata.receiving.intake import Intake
    from matrixdata.receiving.rollback import Rollback
    from matrixdata.receiving.sources import Source
    from matrixdata.replica.lease import Lease
    from matrixdata.replica.rooms import Rooms
    from matrixdata.replica.sharing import Sharing

log = logging.getLogger("matrixdata.receiving")

_LONG_POLL_MS = 30_000
# Seconds between two looks at what other processes committed.
_LOOK = 0.1
# So many between two pulses of a leader, and between two attempts of the others to lead.
_PULSE = 5
# So many pulses a leader that was replaced leaves to its successor for taking the lock.
_YIELD = 4
# A server may forget a token once; one that refuses each it gives is backed off from.
_REFUSED_AGAIN = 2
_DOUBTED = 3


class SyncLoop:
    """Keeps the rooms somebody asked for in step with the server, itself or through the process that leads.

    Args:
        rollback: looks, after each connection, whether the server still has what it gave us.
        choose_source: how to sync, given the kinds that turned out to be missing.
        on_change: called when readers may find something new.
        usable: whether the session may serve again; asked while it is known not to.
        on_gap: called with a room id when a response left events out.
        on_foreign: awaited when another process committed something while it leads.

    Attributes:
        failing: why the server was not reached at the last attempt; None when it was.
        fatal: why the loop ended, or rests until somebody logs in again; `follow` raises it.
    """

    def __init__(
        self,
        rooms: Rooms,
        sharing: Sharing,
        intake: Intake,
        lease: Lease,
        *,
        rollback: Rollback,
        choose_source: Callable[[Collection[str]], Awaitable[Source]],
        usable: Callable[[], Awaitable[bool]],
        chance: Callable[[], float],
        clock: Callable[[], int],
        on_change: Callable[[], None],
        on_gap: Callable[[str], None],
        on_foreign: Callable[[], Awaitable[None]],
    ) -> None:
        self._rooms = rooms
        self._sharing = sharing
        self._intake = intake
        self._lease = lease
        self._rollback = rollback
        self._choose_source = choose_source
        self._usable = usable
        self._chance = chance
        self._clock = clock
        self._on_change = on_change
        self._on_gap = on_gap
        self._on_foreign = on_foreign
        self._wanted: set[str] = set()
        self._asked: set[str] = set()  # what the others want of us while we lead
        self._live: set[str] = set()
        self._shared = Shared()
        self._announced = Shared()
        self._compared: set[str] = set()  # with what the server has, since the connection stands
        self._refusals = 0  # of tokens, one after the other
        self._doubts = 0  # polls that failed although the server answers other questions
        self._changed = anyio.Event()
        self._poll = anyio.CancelScope()
        self.outages = Outages()
        self._led_in: str | None = None
        self.failing: MatrixDataError | None = None
        self.fatal: MatrixDataError | None = None
        self.last_answer: int | None = None
        """When the server last answered, microseconds since 1970 UTC."""

    # -- what the client asks of it ---------------------------------------------------------------------
    @property
    def live(self) -> frozenset[str]:
        """Rooms that have been in step since this client asked for them."""
        return frozenset(self._live)

    @property
    def leader(self) -> int:
        """The id of the process that syncs for all on this store; 0 when none is known to."""
        if self._rooms.epoch is not None:
            return os.getpid()
        return self._lease.holder() if self._rooms.attending else 0

    @property
    def set_back(self) -> ServerRolledBack | None:
        """The last time the server was found to have forgotten something; None before."""
        return self._rollback.found

    def set_back_in(self, room_id: str) -> ServerRolledBack | None:
        """The same of one room."""
        return self._rollback.found_in.get(room_id)

    async def follow(self, room_id: str, *, timeout: float | None = None) -> bool:
        """Keep a room in step from now on; True once it is, False after `timeout` seconds without that.

        Raises:
            LoggedOut, Unsupported: this client cannot sync.
        """
        if self.fatal is not None:
            raise self.fatal
        if self._led_in not in {None, self._rooms.replica}:
            # It was damaged and starts anew: nothing is in step, whatever the poll under way brings.
            self._live.clear()
            self._poll.cancel()
        if room_id not in self._wanted:
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

    def fail(self, error: MatrixDataError) -> None:
        """End syncing for a reason; whoever waits for it meets that reason."""
        self.fatal = error
        self._notify()

    async def run(self) -> None:
        """Sync for as long as it is not cancelled, or until it cannot go on: then `fatal` says why."""
        while not self._wanted:
            await self._changed.wait()
        try:
            while True:
                await self._take_part()
        except ClientClosed as error:
            self.fail(error)
        finally:
            self._lease.release()  # another process may be able to go on

    async def _take_part(self) -> None:
        """Lead, or attend for a while; a disk that fails for now is no reason to end."""
        try:
            if self._lease.look():
                await self._lead()
            else:
                await self._attend()
        except ClientClosed:
            raise
        except (MatrixDataError, OSError) as error:
            log.warning("syncing pauses: %s", error)
            self._lease.release()
            self.failing = error if isinstance(error, MatrixDataError) else MatrixDataError(str(error))
            self._notify()
            await anyio.sleep(_LOOK * _PULSE)

    # -- while another process leads --------------------------------------------------------------------
    async def _attend(self) -> None:
        """Let the leader sync for us, until it is time to see whether it still does."""
        self._rooms.attend()
        for _ in range(_PULSE):
            if self._sharing.news() or not self._wanted <= self._shared.wanted:
                await self._hear()
            with anyio.move_on_after(_LOOK):
                await self._changed.wait()

    async def _hear(self) -> None:
        shared = self._shared = await self._sharing.read()
        if not self._wanted <= shared.wanted:
            await self._sharing.want(self._wanted - shared.wanted)
        self._live = self._wanted & shared.live
        self.failing = Unknown(f"process {self._lease.holder()} syncs for this one: {shared.problem}")
        if not shared.problem:
            self.failing, self.last_answer = None, self._clock()
        await self._on_foreign()
        self._notify()

    # -- leading ----------------------------------------------------------------------------------------
    async def _lead(self) -> None:
        """Sync for all, until another process took over because this one had stood still."""
        self._live, self._asked, self._announced = set(), set(), Shared()
        self._led_in = None
        failure: MatrixDataError | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._listen, tasks.cancel_scope)
            try:
                await self._sync()
            except MatrixDataError as error:  # carried out by hand: the task group would wrap it
                failure = error
            tasks.cancel_scope.cancel()
        if failure is not None and not isinstance(failure, StoreLocked):
            raise failure
        log.info("another process syncs now")
        self._lease.release()
        self._live, self._shared, self._led_in = set(), Shared(), None
        self._notify()
        for _ in range(_YIELD):
            await self._attend()

    async def _listen(self, leading: anyio.CancelScope) -> None:
        """Show that we are at work, and hear what other processes want, until one of them has taken over."""
        for looks in itertools.count(1):
            if self._led_in not in {None, self._rooms.replica}:
                self._poll.cancel()  # the replica is another one, in which nothing is in step
            if looks % _PULSE == 0 and not self._lease.beat():
                leading.cancel()
                return
            if self._sharing.news():
                try:
                    await self._hear_wishes()
                except MatrixDataError as error:  # the disk: the loop beside meets it too, and says so
                    log.info("could not read what other processes want: %s", error)
            await anyio.sleep(_LOOK)

    async def _hear_wishes(self) -> None:
        asked = (await self._sharing.read()).wanted
        if not asked <= self._asked | self._wanted:
            self._poll.cancel()
        self._asked |= asked
        await self._on_foreign()
        self._on_change()

    async def _sync(self) -> None:
        backoff, failures, source = Backoff(), 0, None
        self._compared.clear()
        lacking: set[str] = set()
        while True:
            try:
                if self._led_in != self._rooms.replica:
                    source = None  # what it counts as covered is not in this replica
                    await self._rooms.lead()
                    self._compared.clear()
                    await self._intake.reconcile()
                    self._live, self._announced, self._led_in = set(), Shared(), self._rooms.replica
                source = source or await self._choose_source(lacking)
                steady = await self._round(source)
            except LoggedOut as error:
                await self._rest(error)
            except (StoreLocked, ClientClosed):
                raise
            except MatrixDataError as error:
                # The network, the server, or our disk: each may be well again without anybody restarting us.
                failures += 1
                self._compared.clear()
                log.info("sync failed (%s), attempt %d", error, failures)
                if isinstance(error, StoreFull):
                    source = None  # it counts as covered what was not committed
                elif isinstance(error, Unsupported) and source is not None:
                    # What probing promised is not there, as behind a proxy that knows other paths only.
                    lacking.add(source.kind)
                    source = None
                self.failing = error
                self._notify()
                await self._announce()
                pause = getattr(error, "retry_after", 0.0)
                # Our own disk may be asked often.
                attempt = min(failures, 4) if isinstance(error, StoreFull) else failures
                await anyio.sleep(max(pause, backoff.delay(attempt, self._chance)))
            else:
                failures = 0 if steady else failures

    async def _rest(self, error: LoggedOut) -> None:
        """Until the session may serve again; whoever waits for us meanwhile meets the reason."""
        self._compared.clear()
        self.failing = error
        self.fail(error)
        await self._announce()
        while not await self._may_go_on():  # noqa: ASYNC110  as said below
            await anyio.sleep(_LOOK)  # another process stores the new session; no task here could tell
        self.fatal = None

    async def _may_go_on(self) -> bool:
        try:
            return await self._usable()
        except MatrixDataError as error:
            log.info("the stored session could not be read: %s", error)
            return False

    async def _round(self, source: Source) -> bool:
        """One poll and its commit; whether the server goes on from the tokens it gives.

        Cancelling the poll loses nothing; the commit is never cancelled.
        """
        wanted = frozenset(self._wanted | self._asked)
        unsure = wanted - self._compared
        tips = await self._rollback.before(unsure)
        token = await self._rooms.token(source.kind)
        # After a failure, at once: that all is well again must not wait for the next news.
        news = wanted <= self._live and self.failing is None and not (unsure or self._refusals)
        timeout_ms = _LONG_POLL_MS if news else 0
        batch = None
        with anyio.CancelScope() as self._poll:
            if wanted == self._wanted | self._asked:
                try:
                    batch = await source.poll(token, wanted, timeout_ms=timeout_ms)
                except TokenRefused as error:
                    await self._start_anew(source, error)
                    return False
                except Unknown:
                    await self._doubt(source, token)
                    raise
        if batch is None:
            return True
        reached("read.1 received")
        if isinstance(self.failing, (NotSent, Unknown)) and not self._refusals:
            # Before the commit: readers are told of the outage before they get what was missed in it.
            self.outages.ended(self.last_answer, str(self.failing))
        await self._intake.sync(batch, kind=source.kind, token=batch.token)
        self._doubts = 0
        if token is not None:
            self._refusals = 0
        if self._refusals < _REFUSED_AGAIN:
            self.failing = None
        self.last_answer = self._clock()
        self._live |= wanted & (self._wanted | self._asked)
        self._notify()
        await self._announce()
        reached("read.4 woken")
        for room in batch.rooms:
            if room.limited:
                self._on_gap(room.room_id)
        await self._rollback.after(tips)
        self._compared |= unsure
        return self._refusals < _REFUSED_AGAIN

    async def _doubt(self, source: Source, token: str | None) -> None:
        """The server answers otherwise; this token it may fail on for ever (measured: after a room was forgotten)."""
        self._doubts += 1
        if token is not None and self._doubts == _DOUBTED:
            log.info("starting sync anew: the server fails on the token again and again")
            await self._rooms.apply([], tokens={source.kind: None})

    async def _start_anew(self, source: Source, error: TokenRefused) -> None:
        """Go on without a token: everything we follow comes again, and what we have is recognised."""
        log.info("starting sync anew: %s", error)
        self._refusals += 1
        self._compared.clear()
        await self._rooms.apply([], tokens={source.kind: None})
        if self._refusals >= _REFUSED_AGAIN:
            raise Unknown(f"the server refuses the sync tokens that it gives: {error}")

    async def _announce(self) -> None:
        """Let the other processes know what changed for them."""
        now = Shared(live=frozenset(self._live), problem=str(self.failing or ""))
        if now != self._announced:
            try:
                await self._sharing.announce(now.live - self._announced.live, problem=now.problem)
            except MatrixDataError as error:  # the disk; it is tried again with the next round
                log.info("other processes could not be told how syncing goes: %s", error)
            else:
                self._announced = now

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
        self._on_change()
