"""The rounds of the process that leads: poll, commit, tell. It asks the server for every process on the store."""

from __future__ import annotations

import logging
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
from matrixdata.receiving.sources import TokenRefused
from matrixdata.replica.sharing import Shared, Told
from matrixdata.transport.caller import Backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from matrixdata.receiving.course import Course
    from matrixdata.receiving.intake import Intake
    from matrixdata.receiving.key_intake import KeyIntake
    from matrixdata.receiving.rollback import Rollback
    from matrixdata.receiving.sources import Source
    from matrixdata.replica.rooms import Rooms
    from matrixdata.replica.sharing import Sharing

log = logging.getLogger("matrixdata.receiving")

_LONG_POLL_MS = 30_000
# Seconds between two looks whether a session serves again.
_LOOK = 0.1
# A server may forget a token once; one that refuses each it gives is backed off from.
_REFUSED_AGAIN = 2
_DOUBTED = 3


class Leader:
    """Keeps what the course names in step with the server, while it may lead.

    Args:
        rollback: looks, after each connection, whether the server still has what it gave us.
        choose_source: how to sync, given the kinds that turned out to be missing.
        usable: whether the session may serve again; asked while it is known not to.
        on_gap: called with a room id when a response left events out.
    """

    def __init__(
        self,
        course: Course,
        rooms: Rooms,
        sharing: Sharing,
        intake: Intake,
        *,
        keys: KeyIntake,
        rollback: Rollback,
        choose_source: Callable[[Collection[str]], Awaitable[Source]],
        usable: Callable[[], Awaitable[bool]],
        chance: Callable[[], float],
        clock: Callable[[], int],
        on_gap: Callable[[str], None],
    ) -> None:
        self._course = course
        self._rooms = rooms
        self._sharing = sharing
        self._intake = intake
        self._keys = keys
        self._rollback = rollback
        self._choose_source = choose_source
        self._usable = usable
        self._chance = chance
        self._clock = clock
        self._on_gap = on_gap
        self._announced = Shared()
        self._compared: set[str] = set()  # with what the server has, since the connection stands
        self._refusals = 0  # of tokens, one after the other
        self._doubts = 0  # polls that failed although the server answers other questions

    async def sync(self) -> None:
        """Lead until that cannot go on.

        Raises:
            StoreLocked: another process leads.
            ClientClosed: the store is closed.
        """
        backoff, failures, source = Backoff(), 0, None
        self._announced = Shared()
        self._compared.clear()
        course = self._course
        lacking: set[str] = set()
        while True:
            try:
                if course.led_in != self._rooms.replica:
                    source = None  # what it counts as covered is not in this replica
                    await self._rooms.lead()
                    self._compared.clear()
                    await self._intake.reconcile()
                    await self._keys.begin()
                    course.live, self._announced, course.led_in = set(), Shared(), self._rooms.replica
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
                course.failing = error
                course.notify()
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
        self._course.failing = error
        self._course.fail(error)
        await self._announce()
        while not await self._may_go_on():  # noqa: ASYNC110  as said below
            await anyio.sleep(_LOOK)  # another process stores the new session; no task here could tell
        self._course.fatal = None

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
        course = self._course
        wanted = frozenset(course.wanted | course.asked)
        unsure = wanted - self._compared
        tips = await self._rollback.before(unsure)
        token = await self._rooms.token(source.kind)
        # After a failure, at once: that all is well again must not wait for the next news.
        news = wanted <= course.live and course.failing is None and not (unsure or self._refusals)
        timeout_ms = _LONG_POLL_MS if news else 0
        batch = None
        with anyio.CancelScope() as course.poll:
            if wanted == course.wanted | course.asked:
                try:
                    batch = await source.poll(
                        token, wanted, timeout_ms=timeout_ms, keys_since=await self._keys.since()
                    )
                except TokenRefused as error:
                    await self._start_anew(source, error)
                    return False
                except Unknown:
                    await self._doubt(source, token)
                    raise
        if batch is None:
            return True
        reached("read.1 received")
        if isinstance(course.failing, (NotSent, Unknown)) and not self._refusals:
            # Before the commit: readers are told of the outage before they get what was missed in it.
            await self._tell_outage(str(course.failing))
        received = await self._keys.store(batch)
        await self._intake.sync(batch, kind=source.kind, token=batch.token)
        await self._keys.tell(received)
        self._doubts = 0
        if token is not None:
            self._refusals = 0
        if self._refusals < _REFUSED_AGAIN:
            course.failing = None
        course.last_answer = self._clock()
        course.live |= wanted & (course.wanted | course.asked)
        course.notify()
        await self._announce()
        reached("read.4 woken")
        for room in batch.rooms:
            if room.limited:
                self._on_gap(room.room_id)
        await self._rollback.after(tips)
        self._compared |= unsure
        return self._refusals < _REFUSED_AGAIN

    async def _tell_outage(self, reason: str) -> None:
        """It is over."""
        since = self._course.last_answer
        self._course.outages.ended(since, reason)
        try:
            await self._sharing.tell(Told(since=since, reason=reason))
        except MatrixDataError as error:  # the disk; what is committed next meets the same
            log.info("other processes could not be told that an outage is over: %s", error)

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
        now = Shared(live=frozenset(self._course.live), problem=str(self._course.failing or ""))
        if now != self._announced:
            try:
                await self._sharing.announce(now.live - self._announced.live, problem=now.problem)
            except MatrixDataError as error:  # the disk; it is tried again with the next round
                log.info("other processes could not be told how syncing goes: %s", error)
            else:
                self._announced = now
