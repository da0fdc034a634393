"""What stands between reading ahead and handing out: nothing is lost or doubled by an interruption in between.

An item is first ready, then given, then acknowledged; only the last moves the cursor. Used from the event loop
and, by the blocking face, from the caller's thread: each step is one operation on a deque.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, TypeAlias

from matrixdata.model import Dropped, Invalid, Record, Redacted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from matrixdata.model import Notice
    from matrixdata.replica.account import Cursor

Item: TypeAlias = "Record | Notice"
# Seconds between two saves of a cursor while items are handed out one after the other.
_SAVE_EVERY = 0.25


class Handout:
    """The items of one subscription, each with how far one has read once it is dealt with."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ready: deque[tuple[Cursor, Item]] = deque()
        self._given: deque[tuple[Cursor, Item]] = deque()
        self._saved: Cursor | None = None
        self._saved_at = clock()
        self.at: Cursor | None = None
        """How far everything is acknowledged."""
        self.dropped = 0
        """How many items were dropped so far."""

    # -- in ---------------------------------------------------------------------------------------------
    def extend(self, found: Iterable[tuple[Cursor, Item]]) -> None:
        """More to hand out, in this order."""
        self._ready.extend(found)

    def skip_to(self, cursor: Cursor) -> None:
        """There was nothing to hand out up to here."""
        if not self._ready and not self._given:
            self.at = cursor

    def trim(self, most: int) -> int:
        """Drop the oldest items beyond `most`, and say how many; what tells of the stream itself stays."""
        excess = new = self.waiting() - most
        if excess <= 0:
            return 0
        kept: deque[tuple[Cursor, Item]] = deque()
        count, last = excess, self._ready[0][0]
        while excess:
            cursor, item = self._ready.popleft()
            if _counts(item):
                excess, last = excess - 1, cursor
            elif isinstance(item, Dropped):
                count += item.count
            else:
                kept.append((cursor, item))
        self._ready.appendleft((last, Dropped(count)))
        self._ready.extendleft(reversed(kept))
        self.dropped += new
        return new

    # -- what is there ----------------------------------------------------------------------------------
    def waiting(self) -> int:
        """How many items are ready, those not counted that tell of the stream itself."""
        return sum(1 for _, item in tuple(self._ready) if _counts(item))

    def records(self) -> int:
        """How many records are ready."""
        return sum(1 for _, item in tuple(self._ready) if isinstance(item, Record))

    def has(self, *, records_only: bool) -> bool:
        """Whether something is ready. With `records_only`, what comes before the first record is passed over."""
        while records_only and self._ready and not isinstance(self._ready[0][1], Record):
            self._given.append(self._ready.popleft())
        return bool(self._ready)

    # -- out --------------------------------------------------------------------------------------------
    def give(self, *, records_only: bool) -> Item:
        """The next item; there is one, says `has`."""
        while True:
            entry = self._ready.popleft()
            self._given.append(entry)
            if not records_only or isinstance(entry[1], Record):
                return entry[1]

    def give_records(self, most: int) -> list[Record]:
        """The next records, at most so many; other items are passed over."""
        given: list[Record] = []
        while self._ready and len(given) < most:
            entry = self._ready.popleft()
            self._given.append(entry)
            if isinstance(entry[1], Record):
                given.append(entry[1])
        return given

    def take_back(self) -> None:
        """What was given since the last acknowledgement did not arrive: it is handed out again."""
        while self._given:
            self._ready.appendleft(self._given.pop())

    def acknowledge(self) -> None:
        """What was given is dealt with."""
        while self._given:
            self.at = self._given.popleft()[0]

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
