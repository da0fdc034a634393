"""The sender: while it holds the lease it lets each room's queue drain; otherwise it follows who does."""

from __future__ import annotations

import logging
from contextlib import closing
from typing import TYPE_CHECKING

import anyio
import anyio.abc
from msgspec.structs import replace

from matrixdata.errors import MatrixDataError
from matrixdata.protocol.requests import SEND_TIMEOUT
from matrixdata.publishing.drain import Barred, Drain, Means, Pause

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from matrixdata.publishing.readback import Readback
    from matrixdata.publishing.receipt import Receipts
    from matrixdata.publishing.sealing import Sealing
    from matrixdata.replica.lease import Lease
    from matrixdata.replica.outbox import Outbox
    from matrixdata.replica.watch import Watch
    from matrixdata.transport.caller import Caller

log = logging.getLogger("matrixdata.publishing")

# How often to look whether another process queued something, or sent what our callers wait for; less often the longer
# nothing happens, for a process that idles for weeks must cost next to nothing.
_GLANCE, _LONGEST_GLANCE = 0.05, 0.25
# How often to show that we send, or to try for the lease, in case the process that sends for us is gone.
_LOOK = 0.5
# Who let go of the lease may still be waiting for the answer to a request, for as long as one may take.
_OVERLAP = 2 * SEND_TIMEOUT
# So many rooms send at the same time.
_TURNS = 8


class Sender:
    """Drains the outbox while it holds the lease; one for each client, one at work for each store.

    Args:
        barred: why nothing may be sent to a room.
        pack: makes one batch of what is at the head of a room's queue and never left.
        usable: whether the session may serve again; asked while it is known not to.
    """

    def __init__(
        self,
        caller: Caller,
        outbox: Outbox,
        receipts: Receipts,
        lease: Lease,
        *,
        readback: Readback,
        sealing: Sealing,
        barred: Barred,
        pack: Callable[[str], Awaitable[object]],
        usable: Callable[[], Awaitable[bool]],
        clock: Callable[[], int],
        chance: Callable[[], float],
    ) -> None:
        self._outbox = outbox
        self._receipts = receipts
        self._lease = lease
        self._readback = readback
        self._usable = usable
        self._pause = Pause()
        caller.on_recovery.append(self._pause.end)
        self._means = Means(
            caller,
            outbox,
            readback,
            sealing,
            barred,
            anyio.CapacityLimiter(_TURNS),
            self._pause,
            pack,
            clock=clock,
            chance=chance,
        )
        self._wake = anyio.Event()
        self._busy: set[str] = set()
        self._glance = _GLANCE
        self._due = self._alone_from = 0.0
        self._logged_out = False

    def wake(self, *, hurry: bool = False) -> None:
        """Something was queued, or may be sent again; `hurry` ends pauses between attempts."""
        self._logged_out = False
        self._wake.set()
        if hurry:
            self._pause.end()

    async def run(self) -> None:
        """Send for as long as it is not cancelled. Nothing but cancellation ends it."""
        with closing(self._outbox.watch()) as watch:
            async with anyio.create_task_group() as rooms:
                news = True
                while True:
                    self._wake = anyio.Event()
                    try:
                        await self._look(rooms, news=news)
                    except (MatrixDataError, OSError):
                        log.exception("the outbox could not be read; trying again")
                        await anyio.sleep(_LOOK)
                        self._wake.set()
                    news = await self._until_needed(watch)

    async def _until_needed(self, watch: Watch) -> bool:
        """Until someone here woke us or some process wrote, which is news, or the lease is to be looked after."""
        while not self._wake.is_set() and not watch.changed():
            if anyio.current_time() >= self._due:
                return False
            with anyio.move_on_after(self._glance):
                await self._wake.wait()
            self._glance = min(1.2 * self._glance, _LONGEST_GLANCE)
        self._glance = _GLANCE
        return True

    async def _look(self, rooms: anyio.abc.TaskGroup, *, news: bool) -> None:
        if self._logged_out and not await self._usable():
            self._lease.release()  # another process may have a session that serves
            self._due = anyio.current_time() + _LOOK
            return
        self._logged_out = False
        led, looked = self._lease.held, anyio.current_time() >= self._due
        leads = self._leads()
        if leads and not led:
            self._alone_from = anyio.current_time() + _OVERLAP
        if not (led and leads) or (looked and anyio.current_time() < self._alone_from):
            await self._follow()  # also what another process sent, or was sending, when it let go
        if leads and (news or not led):
            await self._start(rooms)

    def _leads(self) -> bool:
        """Whether we send for the store. The lease counts looks, so it is looked after at its own pace."""
        if anyio.current_time() < self._due:
            return self._lease.held or self._lease.acquire()
        self._due = anyio.current_time() + _LOOK
        return self._lease.look() and self._lease.beat()

    async def _follow(self) -> None:
        """Another process sends, or sent, for us: look at what became of what our callers wait for."""
        waiting = self._receipts.waiting()
        if not waiting:
            return
        moved, gone = await self._outbox.moved(waiting)
        for item in moved:
            self._receipts.update(item)
        for item in gone:
            # That process syncs too, and has met the echo.
            event_id = await self._readback.arrived(item)
            if event_id is not None:
                self._receipts.update(replace(item, state="synced", event_id=event_id))

    async def _start(self, rooms: anyio.abc.TaskGroup) -> None:
        for room_id in await self._outbox.rooms_waiting(skip=self._busy):
            self._busy.add(room_id)
            rooms.start_soon(self._drain, room_id)

    async def _drain(self, room_id: str) -> None:
        try:
            await Drain(room_id, self._means, self._may_send, self._end_session).run()
        except MatrixDataError:
            # The store failed; what is queued stays queued. The pause keeps this from becoming a busy loop.
            log.exception("sending to %s stopped", room_id)
            await anyio.sleep(_LOOK)
        finally:
            self._busy.discard(room_id)
            self._wake.set()  # something may have been queued between the last look and here

    def _may_send(self) -> bool:
        return self._lease.held and not self._logged_out

    def _end_session(self) -> None:
        self._logged_out = True  # what is queued stays so, and goes on once somebody has logged in again
