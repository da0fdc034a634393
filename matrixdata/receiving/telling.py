"""What a subscription says of its stream: outages, gaps, being caught up. Decides when, from what was read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matrixdata.model import CaughtUp, Gap, GapFilled, Position, Reconnected
from matrixdata.receiving.records import moment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matrixdata.receiving.beginning import Sources
    from matrixdata.receiving.handout import Item
    from matrixdata.replica.account import Cursor
    from matrixdata.replica.rows import FeedPage


class Telling:
    """One subscription's. Gaps go by the newest change when they were opened."""

    def __init__(self, sources: Sources, room_id: str) -> None:
        self._sources = sources
        self._room_id = room_id
        self._outage = sources.freshness.outages.count
        self._told: set[int] = set()  # gaps that were told of and are not filled
        self._coming: list[int] = []  # gaps to be told of, each before what came after it
        self._settled = False

    def before(self, at: Cursor, page: FeedPage) -> Iterator[tuple[Cursor, Item]]:
        """What belongs before the items of a page."""
        for outage in self._sources.freshness.outages.after(self._outage):
            self._outage, self._settled = outage.number, False
            yield at, Reconnected(None if outage.since is None else moment(outage.since), outage.reason)
        found = {gap.opened for gap in page.gaps if not gap.from_start}
        found |= {entry.opened for entry in page.entries if entry.kind == "backfilled" and entry.opened}
        # What was missing before this subscription began is none of its business.
        self._coming = sorted(it for it in found - self._told if at.since is None or it >= at.since)

    def gaps(self, at: Cursor, upto: int) -> Iterator[tuple[Cursor, Item]]:
        """Gaps that opened before a change, told of before what it brought."""
        while self._coming and self._coming[0] < upto:
            opened = self._coming.pop(0)
            self._told.add(opened)
            self._settled = False
            yield at, Gap(Position(opened, self._sources.replica))

    def after(self, at: Cursor, page: FeedPage) -> Iterator[tuple[Cursor, Item]]:
        """What belongs after the items of a page."""
        yield from self.gaps(at, at.change + 1)
        if page.more:
            return
        for opened in sorted(self._told - {gap.opened for gap in page.gaps}):
            self._told.discard(opened)
            yield at, GapFilled(Position(opened, self._sources.replica))
        if not self._settled and not self._told and self._sources.freshness.in_step(self._room_id):
            self._settled = True
            yield at, CaughtUp(Position(at.change, self._sources.replica))
