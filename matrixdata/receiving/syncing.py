"""The sync loop: takes part in keeping rooms in step. One for each client, one that leads for each store.

Of the processes on a store one leads: it alone asks the server's sync endpoints, for every room that any of them
wants. The others tell it what they want and read what it commits. When it ends, or stands still, another leads.
"""

from __future__ import annotations

import itertools
import logging
import os
from typing import TYPE_CHECKING

import anyio

from matrixdata.errors import ClientClosed, MatrixDataError, ServerRolledBack, StoreLocked, Unknown
from matrixdata.receiving.course import Course
from matrixdata.receiving.leading import Leader
from matrixdata.replica.sharing import Shared

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from matrixdata.receiving.intake import Intake
    from matrixdata.receiving.key_intake import KeyIntake
    from matrixdata.receiving.outages import Outages
    from matrixdata.receiving.rollback import Rollback
    from matrixdata.receiving.sources import Source
    from matrixdata.replica.lease import Lease
    from matrixdata.replica.rooms import Rooms
    from matrixdata.replica.sharing import Sharing

log = logging.getLogger("matrixdata.receiving")

# Seconds between two looks at what other processes committed.
_LOOK = 0.1
# So many between two pulses of a leader, and between two attempts of the others to lead.
_PULSE = 5
# So many pulses a leader that was replaced leaves to its successor for taking the lock.
_YIELD = 4


class SyncLoop:
    """Keeps the rooms somebody asked for in step with the server, itself or through the process that leads.

    Args:
        rollback: looks, after each connection, whether the server still has what it gave us.
        choose_source: how to sync, given the kinds that turned out to be missing.
        on_change: called when readers may find something new.
        usable: whether the session may serve again; asked while it is known not to.
        on_gap: called with a room id when a response left events out.
        on_foreign: awaited when another process committed something while it leads.
    """

    def __init__(
        self,
        rooms: Rooms,
        sharing: Sharing,
        intake: Intake,
        lease: Lease,
        *,
        keys: KeyIntake,
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
        self._clock = clock
        self._on_change = on_change
        self._on_foreign = on_foreign
        self._shared = Shared()
        self._course = Course(on_change)
        self._leader = Leader(
            self._course,
            rooms,
            sharing,
            intake,
            keys=keys,
            rollback=rollback,
            choose_source=choose_source,
            usable=usable,
            chance=chance,
            clock=clock,
            on_gap=on_gap,
        )

    # -- what the client asks of it ---------------------------------------------------------------------
    @property
    def live(self) -> frozenset[str]:
        """Rooms that have been in step since this client asked for them."""
        return frozenset(self._course.live)

    @property
    def failing(self) -> MatrixDataError | None:
        """Why the server was not reached at the last attempt; None when it was."""
        return self._course.failing

    @property
    def fatal(self) -> MatrixDataError | None:
        """Why the loop ended, or rests until somebody logs in again; `follow` raises it."""
        return self._course.fatal

    @property
    def last_answer(self) -> int | None:
        """When the server last answered, microseconds since 1970 UTC."""
        return self._course.last_answer

    @property
    def outages(self) -> Outages:
        """Times without answers that are over."""
        return self._course.outages

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
        course = self._course
        if course.fatal is not None:
            raise course.fatal
        if course.led_in not in {None, self._rooms.replica}:
            # It was damaged and starts anew: nothing is in step, whatever the poll under way brings.
            course.live.clear()
            course.poll.cancel()
        if room_id not in course.wanted:
            course.wanted.add(room_id)
            course.poll.cancel()  # a long poll under way does not cover the room
            course.notify()
        with anyio.move_on_after(timeout):
            while room_id not in course.live:
                if course.fatal is not None:
                    raise course.fatal
                await course.changed.wait()
        return room_id in course.live

    def listen(self) -> None:
        """Sync from now on, even without a room to follow: something is awaited for this device."""
        if not self._course.listening:
            self._course.listening = True
            self._course.notify()

    def forget(self, room_id: str) -> None:
        """Stop following a room, as after leaving it."""
        self._course.wanted.discard(room_id)
        self._course.live.discard(room_id)

    def fail(self, error: MatrixDataError) -> None:
        """End syncing for a reason; whoever waits for it meets that reason."""
        self._course.fail(error)

    async def run(self) -> None:
        """Sync for as long as it is not cancelled, or until it cannot go on: then `fatal` says why."""
        while not (self._course.wanted or self._course.listening):
            await self._course.changed.wait()
        try:
            while True:
                await self._take_part()
        except ClientClosed as error:
            self._course.fail(error)
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
            self._course.failing = (
                error if isinstance(error, MatrixDataError) else MatrixDataError(str(error))
            )
            self._course.notify()
            await anyio.sleep(_LOOK * _PULSE)

    # -- while another process leads --------------------------------------------------------------------
    async def _attend(self) -> None:
        """Let the leader sync for us, until it is time to see whether it still does."""
        self._rooms.attend()
        for _ in range(_PULSE):
            if self._sharing.news() or not self._course.wanted <= self._shared.wanted:
                await self._hear()
            with anyio.move_on_after(_LOOK):
                await self._course.changed.wait()

    async def _hear(self) -> None:
        course = self._course
        await self._hear_told()
        shared = self._shared = await self._sharing.read()
        if not course.wanted <= shared.wanted:
            await self._sharing.want(course.wanted - shared.wanted)
        course.live = course.wanted & shared.live
        course.failing = Unknown(f"process {self._lease.holder()} syncs for this one: {shared.problem}")
        if not shared.problem:
            course.failing, course.last_answer = None, self._clock()
        await self._on_foreign()
        course.notify()

    async def _hear_told(self) -> None:
        """What another process found out while it led."""
        for told in await self._sharing.hear():
            if told.room_id is None:
                self._course.outages.ended(told.since, told.reason)
            else:
                self._rollback.note(ServerRolledBack(told.room_id, told.lost))

    # -- leading ----------------------------------------------------------------------------------------
    async def _lead(self) -> None:
        """Sync for all, until another process took over because this one had stood still."""
        course = self._course
        course.live, course.asked, course.led_in = set(), set(), None
        await self._hear_told()
        failure: MatrixDataError | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._listen, tasks.cancel_scope)
            try:
                await self._leader.sync()
            except MatrixDataError as error:  # carried out by hand: the task group would wrap it
                failure = error
            tasks.cancel_scope.cancel()
        if failure is not None and not isinstance(failure, StoreLocked):
            raise failure
        log.info("another process syncs now")
        self._lease.release()
        course.live, self._shared, course.led_in = set(), Shared(), None
        course.notify()
        for _ in range(_YIELD):
            await self._attend()

    async def _listen(self, leading: anyio.CancelScope) -> None:
        """Show that we are at work, and hear what other processes want, until one of them has taken over."""
        for looks in itertools.count(1):
            if self._course.led_in not in {None, self._rooms.replica}:
                self._course.poll.cancel()  # the replica is another one, in which nothing is in step
            if looks % _PULSE == 0 and not self._lease.beat():
                leading.cancel()
                return
            try:
                if self._sharing.news():
                    await self._hear_wishes()
                if looks % _PULSE == 0:
                    await self._intake.scrub()
            except MatrixDataError as error:  # the disk: the loop beside meets it too, and says so
                log.info("could not hear other processes, or empty a log: %s", error)
            await anyio.sleep(_LOOK)

    async def _hear_wishes(self) -> None:
        asked = (await self._sharing.read()).wanted
        if not asked <= self._course.asked | self._course.wanted:
            self._course.poll.cancel()
        self._course.asked |= asked
        await self._on_foreign()
        self._on_change()
