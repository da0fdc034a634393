"""Reads one room's past and then its change feed, from a place onwards, as the items a subscriber gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from matrixdata.model import Invalid, Position, Record, Redacted
from matrixdata.model.member import event_of, split_key
from matrixdata.receiving.anchoring import Anchor
from matrixdata.receiving.ending import check_replica
from matrixdata.receiving.records import invalid_record, moment, stored_record
from matrixdata.receiving.telling import Telling
from matrixdata.replica.scan import Span

if TYPE_CHECKING:
    from datetime import datetime

    from matrixdata.receiving.beginning import Sources
    from matrixdata.receiving.handout import Item
    from matrixdata.replica.account import Cursor
    from matrixdata.replica.rows import FeedEntry

PAGE = 500
"""Rows read at once, at most."""


class Reader:
    """Reads ahead of a subscription. Only one `read` at a time.

    Attributes:
        at: how far it has read.
        more: whether the last page was full, so that there may be more at once.
        moved: whether the last page got it any further.
    """

    def __init__(
        self, sources: Sources, room_id: str, at: Cursor, *, begin: datetime | None, passed: frozenset[str]
    ) -> None:
        self._sources = sources
        self._room_id = room_id
        self._begin = begin
        # Events that became valid and were not any more when they were read: valid again, they are news.
        self._passed = set(passed)
        self._telling: Telling | None = None
        self._anchor = Anchor(at.event_id)
        self.at = at
        self.more = self.moved = False

    @property
    def in_past(self) -> bool:
        """Whether it still reads what was there at the beginning."""
        return self.at.position is not None

    def tell(self) -> None:
        """From now on, put what is to be known of the stream itself between the records."""
        if self._telling is None:
            self._telling = Telling(self._sources, self._room_id)

    async def read(self, most: int) -> list[tuple[Cursor, Item]]:
        """The next items, each with how far one has read with it; none where there is nothing (yet).

        Everything it remembers changes in one step after the last wait: a cancellation changes nothing.
        """
        if self.at.position is not None:
            return await self._past(self.at.position, min(most, PAGE))
        return await self._feed(min(most, PAGE))

    async def _past(self, past: int, most: int) -> list[tuple[Cursor, Item]]:
        """What was there before, in the timeline's order."""
        span = Span(since=self.at.from_time, as_of=self.at.change)
        page = await self._sources.rooms.scan(self._room_id).page(span, past=past, most=most)
        check_replica(self._sources)
        found: list[tuple[Cursor, Item]] = [
            (
                replace(self.at, position=position, event_id=event_id),
                Record(
                    value=msgspec.json.decode(value),
                    event_id=event_of(event_id),
                    sender=sender,
                    time=moment(time),
                    position=Position(change, self._sources.replica),
                    uid=uid,
                    edited=bool(edited),
                    index=split_key(event_id)[1],
                ),
            )
            for event_id, sender, uid, value, time, change, edited, position in page
        ]
        self.at = found[-1][0] if found else replace(self.at, position=None, from_time=None)
        self._anchor = Anchor(self.at.event_id)
        self.moved = self.more = True
        return found

    async def _feed(self, most: int) -> list[tuple[Cursor, Item]]:
        states = ("valid",) if self._telling is None else ("valid", "invalid")
        page = await self._sources.rooms.feed(
            self._room_id, after=self.at.change, since=self.at.since, most=most, states=states
        )
        items = [(entry, item) for entry in page.entries if (item := await self._item(entry))]
        check_replica(self._sources)
        anchors = self._anchor.through(page, since=self.at.since)
        found: list[tuple[Cursor, Item]] = []
        if self._telling is not None:
            found += self._telling.before(self.at, page)
        for entry, item in items:
            if self._telling is not None:
                found += self._telling.gaps(replace(self.at, change=entry.change - 1), entry.change)
            found.append((replace(self.at, change=entry.change, event_id=anchors[entry.change]), item))
        at = replace(self.at, change=page.reached, event_id=self._anchor.event_id)
        if self._telling is not None:
            found += self._telling.after(at, page)
        self._passed |= page.passed
        self.moved, self.more, self.at = at != self.at, page.more, at
        return found

    async def _item(self, entry: FeedEntry) -> Item | None:
        if not entry.record:
            return None
        position = Position(entry.change, self._sources.replica)
        if entry.kind == "redaction":
            event_id, index = split_key(entry.event.event_id)
            return Redacted(event_id, position, index) if self._telling is not None else None
        if entry.event.row_state == "invalid":
            if entry.first or entry.kind in {"revalidated", "edited"}:
                return None  # it was valid then; when that ended comes later in the feed
            return Invalid(invalid_record(entry.event), position)
        return await self._record(entry)

    def _is_news(self, entry: FeedEntry) -> bool:
        if entry.kind == "edited":
            return not entry.shadowed
        if entry.repeat:
            return False
        # What is valid again was handed out when it first was, unless it was not valid when we read that.
        return entry.first or entry.event.event_id in self._passed

    async def _record(self, entry: FeedEntry) -> Record | None:
        if not self._is_news(entry):
            return None
        event = entry.event
        if entry.shadowed:
            winner = await self._sources.rooms.find(self._room_id, event.sender, event.uid or "")
            if winner is None or winner.row_state != "valid":
                return None
            event = winner
        record = stored_record(event, self._sources.replica, change=entry.change)
        late = self._begin is not None and entry.kind == "backfilled" and record.time < self._begin
        return None if late else record
