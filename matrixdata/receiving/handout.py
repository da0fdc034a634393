"""What stands between reading ahead and handing out: nothing is lost or doubled by an interruption in between.

An item is ready until it is acknowledged; only that moves the cursor. Which ones are with the caller says one
number, which is set last: an interruption before that leaves them ready, after it nothing is left to interrupt.
Used from the event loop and, by the blocking face, from the caller's thread.
"""

from __future__ import annotations

import time
from collections import deque
from itertools import count
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from matrixdata.model import Dropped, Invalid, Record, Redacted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from matrixdata.model import Notice
    from matrixdata.replica.account import Cursor

Item: TypeAlias = "Record | Notice"
# Seconds between two saves of a cursor while items are handed out one after the other.
_SAVE_EVERY = 0.25


class Ready(NamedTuple):
    """One item, with how far one has read once it is dealt with."""

    number: int
    cursor: Cursor
    item: Item


class Handout:
    """The items of one subscription.

    Attributes:
        handed: the number of the last item that is with the caller; set when nothing can come between any more.
        at: how far everything is acknowledged.
        dropped: how many items were dropped so far.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._numbers = count(1)
        self._ready: deque[Ready] = deque()
        self._saved: Cursor | None = None
        self._saved_at = clock()
        self.handed = 0
        self.at: Cursor | None = None
        self.dropped = 0

    # -- in ---------------------------------------------------------------------------------------------
    def extend(self, found: Iterable[tuple[Cursor, Item]]) -> None:
        """More to hand out, in this order."""
        self._ready.extend(Ready(next(self._numbers), cursor, item) for cursor, item in found)

    def skip_to(self, cursor: Cursor) -> None:
        """There was nothing to hand out up to here."""
        if not self._ready:
            self.at = cursor

    def trim(self, most: int) -> int:
        """Drop the oldest items beyond `most`, and say how many; what tells of the stream itself stays."""
        excess = new = self.waiting() - most
        if excess <= 0:
            return 0
        kept: deque[Ready] = deque()
        lost, last = excess, self._ready[0]
        while excess:
            entry = self._ready.popleft()
            if entry.number <= self.handed:  # another task that reads here just got it
                kept.append(entry)
            elif _counts(entry.item):
                excess, last = excess - 1, entry
            elif isinstance(entry.item, Dropped):
                lost += entry.item.count
            else:
                kept.append(entry)
        self._ready.appendleft(last._replace(item=Dropped(lost)))
        self._ready.extendleft(reversed(kept))
        self.dropped += new
        return new

    # -- what is there ----------------------------------------------------------------------------------
    def waiting(self) -> int:
        """How many items are ready, those not counted that tell of the stream itself."""
        return sum(1 for entry in tuple(self._ready) if entry.number > self.handed and _counts(entry.item))

    def records(self) -> int:
        """How many records are ready."""
        return sum(
            1 for entry in tuple(self._ready) if entry.number > self.handed and isinstance(entry.item, Record)
        )

    def has(self, *, records_only: bool) -> bool:
        """Whether something is ready. With `records_only`, what comes before the first record is passed over."""
        while records_only and self._ready and self._ready[0].number > self.handed:
            if isinstance(self._ready[0].item, Record):
                break
            self._pass()
        return self._first(records_only=records_only) is not None

    def _first(self, *, records_only: bool) -> Ready | None:
        """The next that nobody has: mostly the very first, unless another task that reads here just got that."""
        if not self._ready:
            return None
        if self._ready[0].number > self.handed:
            return self._ready[0]
        wanted = (Record,) if records_only else (object,)
        behind = (it for it in tuple(self._ready) if it.number > self.handed and isinstance(it.item, wanted))
        return next(behind, None)

    # -- out --------------------------------------------------------------------------------------------
    def give(self, *, records_only: bool) -> Item:
        """The next item; there is one, says `has`. CPython interrupts neither an assignment nor a return."""
        entry = self._first(records_only=records_only)
        if entry is None:
            raise RuntimeError(
                "two threads took the same moment to read here; give each a subscription of its own"
            )
        self.handed = entry.number
        return entry.item

    def records_to(self, most: int) -> tuple[int, list[Record]]:
        """The next records, at most so many, and the number of the last; other items are passed over."""
        found: list[Record] = []
        number = self.handed
        for entry in tuple(self._ready):
            if len(found) == most:
                break
            if entry.number <= self.handed:
                continue
            number = entry.number
            if isinstance(entry.item, Record):
                found.append(entry.item)
        return number, found

    def acknowledge(self) -> None:
        """What is with the caller is dealt with. Interrupted, it is done by the next call."""
        while self._ready and self._ready[0].number <= self.handed:
            self._pass()

    def _pass(self) -> None:
        self.at = self._ready[0].cursor
        self._ready.popleft()

    # -- remembering ------------------------------------------------------------------------------------
    def unsaved(self, *, now: bool) -> Cursor | None:
        """The place to be remembered: at once, or only if the last save is a while ago; None when it is."""
        if self.at == self._saved or not (now or self._clock() - self._saved_at >= _SAVE_EVERY):
            return None
        return self.at

    def saved(self, cursor: Cursor) -> None:
        """That place is remembered."""
        self._saved, self._saved_at = cursor, self._clock()


def _counts(item: Item) -> bool:
    return isinstance(item, (Record, Invalid, Redacted))
