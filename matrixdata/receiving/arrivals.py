"""What a subscription does, without a face: enter, read on, hand out, remember. Both faces stand on it.

It reads only when it is asked for something: who does not read costs nothing and holds nobody up.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

import anyio

from matrixdata.errors import ClientClosed, FellBehind, MatrixDataError
from matrixdata.model import Rebuilt
from matrixdata.model.member import event_of
from matrixdata.receiving.arrow import need_arrow, schema_of
from matrixdata.receiving.beginning import Sources, Start, begin, checked_start, resume
from matrixdata.receiving.ending import check_end
from matrixdata.receiving.handout import Handout
from matrixdata.receiving.reader import PAGE, Reader

if TYPE_CHECKING:
    from matrixdata.errors import ServerRolledBack
    from matrixdata.model import JSON
    from matrixdata.replica.account import Cursor
    from matrixdata.replica.lease import Lease

Overflow = Literal["block", "drop_oldest", "error"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a subscription was asked for; checked when it is made."""

    room_id: str
    start: Start
    cursor: str | None = None
    buffer: int = 500
    overflow: Overflow = "block"

    def __post_init__(self) -> None:
        checked_start(self.start)
        if isinstance(self.buffer, bool) or not isinstance(self.buffer, int) or self.buffer < 1:
            raise ValueError(f"buffer={self.buffer!r}; it takes a number of records, at least 1")
        if self.overflow not in {"block", "drop_oldest", "error"}:
            raise ValueError(f'overflow={self.overflow!r}; it takes "block", "drop_oldest" or "error"')


class Arrivals:
    """One subscription's items, from a cursor of its own.

    Attributes:
        hand: what is ready and what was handed out; the blocking face uses it in its caller's thread.
    """

    def __init__(self, sources: Sources, wanted: Wanted) -> None:
        self.wanted = wanted
        self.hand = Handout()
        self._sources = sources
        self._lease: Lease | None = None
        self._reader: Reader | None = None
        self._telling = False
        self._turn = anyio.Lock()  # entering and leaving
        # A reading that was cancelled may still be on its way out when the next one begins.
        self._reading = anyio.Lock()
        self._looked: anyio.Event | None = None
        self._fallen: FellBehind | None = None
        self._set_back: ServerRolledBack | None = None

    @property
    def open(self) -> bool:
        """Whether it was entered and not left."""
        return self._reader is not None

    # -- entering and leaving ---------------------------------------------------------------------------
    async def enter(self) -> None:
        """Return once live.

        Raises:
            CursorLocked: another subscription, here or in another process, goes by this cursor.
        """
        async with self._turn:
            if self._reader is not None:
                raise ClientClosed("this subscription is already open; make another with subscribe()")
            try:
                await self._enter()
            except BaseException:
                self._release()
                raise

    async def _enter(self) -> None:
        account, saved = self._sources.account, None
        if self.wanted.cursor is not None:
            self._lease = account.cursor_leases.claim(self.wanted.room_id, self.wanted.cursor)
        self._set_back = self._sources.freshness.set_back(self.wanted.room_id)
        await self._sources.freshness.follow(self.wanted.room_id)
        await self._sources.freshness.catch_up(self.wanted.room_id, timeout=10)
        if self.wanted.cursor is not None:
            saved = await account.cursor(self.wanted.room_id, self.wanted.cursor)
        resumed = await resume(self._sources, self.wanted.room_id, saved) if saved is not None else None
        at = resumed or await begin(self._sources, self.wanted.room_id, self.wanted.start)
        # What was not valid where it begins is news when it is again, except to those who want what is new.
        begins = resumed is None and self.wanted.start == "new"
        passed = frozenset() if begins else await self._sources.rooms.passed(self.wanted.room_id, at.change)
        self.hand, self._looked, self._fallen = Handout(), None, None
        self.hand.skip_to(at)
        await self._save(now=True)
        if saved is not None and saved.replica != at.replica:
            last = resumed.event_id if resumed is not None else None
            self.hand.extend([(at, Rebuilt(event_of(last) if last is not None else None))])
        start = self.wanted.start if isinstance(self.wanted.start, datetime) else None
        self._reader = Reader(self._sources, self.wanted.room_id, at, begin=start, passed=passed)
        if self._telling:
            self._reader.tell()

    async def leave(self, *, handled: bool) -> None:
        """Remember how far it got; with `handled`, what was given last is dealt with as well."""
        with anyio.CancelScope(shield=True):
            async with self._turn:
                self._reader = None
                if handled:
                    self.hand.acknowledge()
                try:
                    # A failure here must not stand in the way of the one that ended the block.
                    with suppress(*(() if handled else (MatrixDataError,))):
                        await self._save(now=True)
                finally:
                    self._release()

    def _release(self) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            self._sources.account.cursor_leases.drop(lease)

    # -- reading ----------------------------------------------------------------------------------------
    def tell(self) -> None:
        """From now on, hand out what is to be known of the stream as well."""
        self._telling = True
        if self._reader is not None:
            self._reader.tell()

    def at_hand(self, *, records_only: bool) -> bool:
        """Whether the next item can be given without the event loop."""
        if self._reader is None or self._fallen or self._sources.feed.closed:
            return False
        if self.wanted.overflow != "block" and self._looked is not self._sources.feed.watch():
            return False
        due = self.wanted.cursor is not None and self.hand.unsaved(now=False) is not None
        return not due and self.hand.has(records_only=records_only)

    async def ready(self, *, records_only: bool, timeout: float | None = None) -> None:
        """Acknowledge what was given, and wait until an item can be given."""
        with anyio.fail_after(timeout):
            await self._wait(records_only=records_only)

    async def _wait(self, *, records_only: bool) -> None:
        self.hand.acknowledge()
        while True:
            reader = self._open_reader()
            await self._save(now=False)
            if self.wanted.overflow != "block":
                await self._keep_up(reader)
            if self.hand.has(records_only=records_only):
                return
            await self._save(now=True)
            await self._read_on(reader)

    async def gather(self, size: int, linger: float, timeout: float | None) -> JSON:
        """Wait until a batch can be given; the schema that decides its columns."""
        need_arrow()
        await self.ready(records_only=True, timeout=timeout)
        # An end that is met here is met again by the next call, when what is ready has been handed out.
        with anyio.move_on_after(linger), suppress(MatrixDataError):
            while self.hand.records() < size:
                await self._read_on(self._open_reader())
        return await schema_of(self._sources.rooms, self.wanted.room_id)

    def _open_reader(self) -> Reader:
        if self._reader is None:
            raise ClientClosed("this subscription is not open; use it in a with block")
        if self._fallen is not None:
            raise self._fallen
        return self._reader

    async def _read_on(self, reader: Reader) -> None:
        """Read a page, or wait until there may be one."""
        changed = self._sources.feed.watch()
        async with self._reading:
            found = await reader.read(self.wanted.buffer)
            self.hand.extend(found)
            moved = reader.moved
            if not found:
                self.hand.skip_to(reader.at)
        if not found and not moved:
            await check_end(self._sources, self.wanted.room_id, known=self._set_back)
            await changed.wait()

    async def _keep_up(self, reader: Reader) -> None:
        """Apply the overflow policy: read to the feed's end, keep the newest or give up."""
        changed = self._sources.feed.watch()
        if reader.in_past or self._looked is changed:
            return
        behind = 0
        async with self._reading:
            while True:
                self.hand.extend(await reader.read(PAGE))
                behind += self.hand.trim(self.wanted.buffer)
                if not reader.more:
                    break
        self._looked = changed
        if behind and self.wanted.overflow == "error":
            self._fallen = FellBehind(self.wanted.buffer + behind, self.wanted.buffer)
            raise self._fallen

    async def _save(self, *, now: bool) -> None:
        """Remember how far a named subscription got: everything that is acknowledged."""
        if self.wanted.cursor is None:
            return
        at: Cursor | None = self.hand.unsaved(now=now)
        if at is not None:
            await self._sources.account.save_cursor(self.wanted.room_id, self.wanted.cursor, at)
            self.hand.saved(at)
