"""A consistent read of one room's rows, in pages, without holding up the writer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec.structs import replace

from matrixdata.replica.failures import Damaged
from matrixdata.replica.rows import StoredEvent
from matrixdata.replica.sums import record_sum, text_sum

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from matrixdata.replica.database import Database
    from matrixdata.replica.filter_sql import SqliteFilter

STORED = (
    "e.event_id, e.type, e.state_key, e.sender, e.origin_time, e.content, e.row_state, e.problems,"
    " e.uid, e.value, e.time, ifnull(e.born, e.change), e.edited IS NOT NULL, e.schema, e.sealed,"
    " e.record_sum, e.content_sum"
)
T = TypeVar("T")
_PAGE = 5000
_VALID = "e.record = 1 AND e.row_state = 'valid'"
# Of the events with one (sender, uid), the one that counts; and the one that counted at an earlier moment, which
# a later arrival may have come before since: a result as of that moment must stay what it was.
_COUNTS = "e.shadowed = 0"
_COUNTED = (
    "(e.shadowed = 0 OR NOT EXISTS (SELECT 1 FROM event o WHERE o.room = e.room AND o.uid = e.uid"
    " AND o.sender = e.sender AND o.record = 1 AND o.event_id < e.event_id AND o.change <= ?))"
)
# Valid at an earlier moment, however often the room's rules were changed and changed back. Few events have such rows.
WAS_VALID = (
    "e.born <= ? AND ifnull((SELECT n.kind FROM change n WHERE n.event = e.id AND n.id <= ?"
    " AND n.kind IN ('revalidated', 'invalidated') ORDER BY n.id DESC LIMIT 1), '') <> 'invalidated'"
)


def stored_event(row: Any) -> StoredEvent:  # noqa: ANN401  a row of the columns STORED names
    """One row of the columns in `STORED`.

    Raises:
        Damaged: its bytes changed on the disk. So this belongs inside `Database.read` and `Snapshot.run`.
    """
    *columns, edited, schema, sealed, record, content = row
    event = StoredEvent(*[*columns, bool(edited), schema, bool(sealed)])
    if record != record_sum(
        event.event_id, event.sender, event.uid, event.time, event.value
    ) or content != text_sum(event.content):
        raise Damaged(f"the event {event.event_id} in replica.db is damaged")
    return event


def _stored(rows: Sequence[Any]) -> list[StoredEvent]:
    return [stored_event(row) for row in rows]


def _sound(rows: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Rows of `_RECORD`, without their checksums.

    Raises:
        Damaged: as for `stored_event`.
    """
    for event_id, sender, uid, value, time, _, _, _, total in rows:
        if total is not None and total != record_sum(event_id, sender, uid, time, value):
            raise Damaged(f"the record {event_id} in replica.db is damaged")
    return [row[:-1] for row in rows]


class Span(msgspec.Struct, frozen=True):
    """Which records to read.

    Attributes:
        since, until: record time in microseconds since 1970 UTC, from inclusive, to exclusive.
        after: leave out what was valid by this change.
        as_of: leave out what was not valid at this change.
        past: leave out what stands at this position of the timeline and before it.
        by_time: order by record time instead of by the timeline.
        newest_first: reverse the order.
    """

    since: int | None = None
    until: int | None = None
    after: int | None = None
    as_of: int | None = None
    past: int | None = None
    by_time: bool = False
    newest_first: bool = False


# Of an edited record, what its value and time were at a moment: those of the edit that was in force, or its own.
_THEN = (
    "iif(e.edited IS NULL, e.{name}, ifnull((SELECT d.{name} FROM event d WHERE d.edits = e.event_id"
    " AND d.room = e.room AND d.row_state = 'valid' AND d.born <= {as_of} ORDER BY d.origin_time DESC, d.event_id DESC"
    " LIMIT 1), (SELECT u.{name} FROM unedited u WHERE u.event = e.id)))"
)
_EDITED_THEN = (
    "EXISTS (SELECT 1 FROM event d WHERE e.edited IS NOT NULL AND d.edits = e.event_id AND d.room = e.room"
    " AND d.row_state = 'valid' AND d.born <= {as_of})"
)


def _columns(as_of: int | None) -> tuple[str, str, str]:
    """The expressions for a record's value, its time, and whether it is edited."""
    if as_of is None:
        return "e.value", "e.time", "e.edited IS NOT NULL"
    value, time = (_THEN.format(name=name, as_of=int(as_of)) for name in ("value", "time"))
    return value, time, _EDITED_THEN.format(as_of=int(as_of))


def _query(room_id: str, span: Span, where: SqliteFilter | None = None) -> tuple[str, list[Any]]:
    """The SELECT of a span, and its parameters."""
    value, time, edited = _columns(span.as_of)
    # What an edited record was before is of other rows.
    total = "e.record_sum" if span.as_of is None else "iif(e.edited IS NULL, e.record_sum, NULL)"
    tests = [_VALID] if span.as_of is not None else [_VALID, _COUNTS]
    bounds = (
        (f"{time} >= ?", span.since),
        (f"{time} < ?", span.until),
        ("e.born > ?", span.after),
        (WAS_VALID, span.as_of),
        (_COUNTED, span.as_of),
        ("e.position > ?", span.past),
    )
    parameters: list[Any] = [room_id]
    for test, bound in bounds:
        if bound is not None:
            tests.append(test)
            parameters += [bound] * test.count("?")
    if where is not None:
        # The filter looks at the value that stands now; what an edit changed since is left to the exact one.
        tests.append(f"({where.sql})" if span.as_of is None else f"(({where.sql}) OR e.edited IS NOT NULL)")
        parameters += where.parameters
    direction = "DESC" if span.newest_first else "ASC"
    order = f"{time} {direction}, e.position {direction}" if span.by_time else f"e.position {direction}"
    query = (
        f"SELECT e.event_id, e.sender, e.uid, {value}, {time}, e.born, {edited}, e.position, {total} FROM event e"  # noqa: S608  constants and ? marks
        " WHERE e.room = (SELECT id FROM room WHERE room_id = ?) AND "
        f"{' AND '.join(tests)} ORDER BY {order}"
    )
    return query, parameters


class Scan:
    """Reads of one room. Each page is fetched on a worker thread; all pages see the same moment."""

    def __init__(self, database: Database, room_id: str) -> None:
        self._db = database
        self._room_id = room_id

    async def records(
        self, span: Span, where: SqliteFilter | None = None
    ) -> AsyncGenerator[list[tuple[Any, ...]]]:
        """Pages of (event_id, sender, uid, value, time, change, edited, position) of the records that count.

        With a filter, those that it rules out are left out; unless it is exact, others that do not match are not.
        """
        async for page in self._pages(*_query(self._room_id, span, where), _sound):
            yield page

    async def page(self, span: Span, *, past: int, most: int) -> list[tuple[Any, ...]]:
        """The same columns of at most `most` records in the timeline's order, past a position."""
        query, parameters = _query(self._room_id, replace(span, past=past))
        return await self._db.read(
            lambda c: _sound(c.execute(f"{query} LIMIT ?", (*parameters, most)).fetchall())
        )

    async def events(self, *, states: tuple[str, ...] = ()) -> AsyncGenerator[list[StoredEvent]]:
        """Pages of every event held, in the timeline's order.

        With `states`, only those in these states, and the records in batches are among them.
        """
        marks = ",".join("?" * len(states))
        query = (
            f"SELECT {STORED} FROM event e WHERE e.room = (SELECT id FROM room WHERE room_id = ?)"  # noqa: S608  constants and ? marks
            + (f" AND e.row_state IN ({marks})" if states else " AND e.item IS NULL")
            + " ORDER BY e.position"
        )
        async for page in self._pages(query, [self._room_id, *states], _stored):
            yield page

    async def record_events(self) -> AsyncGenerator[list[StoredEvent]]:
        """Pages of our own events in whatever state but redacted, for judging them anew."""
        query = (
            f"SELECT {STORED} FROM event e WHERE e.room = (SELECT id FROM room WHERE room_id = ?)"  # noqa: S608  constants
            " AND (e.record = 1 OR e.edits IS NOT NULL) AND e.row_state <> 'redacted' ORDER BY e.position"
        )
        async for page in self._pages(query, [self._room_id], _stored):
            yield page

    async def _pages(
        self, query: str, parameters: list[Any], read: Callable[[Sequence[Any]], list[T]]
    ) -> AsyncGenerator[list[T]]:
        async with self._db.snapshot() as snapshot:
            cursor = await snapshot.run(lambda c: c.execute(query, parameters))
            while page := await snapshot.run(lambda _: read(cursor.fetchmany(_PAGE))):
                yield page
