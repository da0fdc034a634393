"""What the flows hand to the replica and get from it: plain rows, no SQL.

Those of which there may be millions are structs: made, and copied with a change, in a tenth of a dataclass's time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Decryption(msgspec.Struct, frozen=True):
    """How an event that came encrypted could be read, or why not.

    Attributes:
        session: the Megolm session, None where it names none.
        device: that encrypted it, None where that is not known.
        standing: what is known of that device; None where the event could not be read.
        cause: why not, in one word; None where it could. `detail`: and what would mend that.
    """

    session: str | None
    device: str | None = None
    standing: str | None = None
    cause: str | None = None
    detail: str | None = None


class EventRow(msgspec.Struct, frozen=True):
    """One event after the pipeline: exactly one row state, the raw content kept.

    Attributes:
        origin_time: milliseconds since 1970 as the sender's server claims.
        content: JSON text as it arrived; None for redacted.
        record: one of our records, whatever its state.
        value: the record's value as JSON text; None unless valid.
        time: the record's time in microseconds since 1970 UTC; None unless it is a record.
        problems: JSON list of [pointer, rule, message, value] when invalid.
        redacts: the event whose content this one removes.
        edits: the event whose record this one replaces by its own; such a row is no record itself.
        txn_id: our own transaction id, when the event came back to the device that sent it.
        item: of a record in a batch its place there; `event_id` is then a key of `model.member`.
        parts: of a batch, what is stored of it: its own row, and one for each of its records. Read when it is stored
            and not kept, for it may be a thousand times as large as the event.
        retracts: the key of the record in a batch that this event takes back.
        sealed: of an event that came encrypted; type and content are then its own, if it could be read.
    """

    event_id: str
    type: str
    state_key: str | None
    sender: str
    origin_time: int
    content: bytes | None
    record: bool
    row_state: str
    problems: bytes | None = None
    uid: str | None = None
    schema: str | None = None
    value: bytes | None = None
    time: int | None = None
    redacts: str | None = None
    edits: str | None = None
    txn_id: str | None = None
    item: int | None = None
    parts: Callable[[], Iterator[EventRow]] | None = None
    retracts: str | None = None
    sealed: Decryption | None = None


class StateRow(msgspec.Struct, frozen=True):
    """One current state event.

    Attributes:
        redacted: of the content only what the room's rules need is left.
    """

    type: str
    state_key: str
    event_id: str
    sender: str
    origin_time: int
    content: bytes
    redacted: bool = False


class RoomChange(msgspec.Struct, frozen=True):
    """What one sync response changes in one room.

    Attributes:
        events: new timeline events, oldest first; known ones may be among them.
        state: state events to make current, later ones winning.
        limited: events are missing before the first of `events`; `prev_batch` leads to them.
        membership: ours, "" when unchanged.
    """

    room_id: str
    events: tuple[EventRow, ...] = ()
    state: tuple[StateRow, ...] = ()
    limited: bool = False
    prev_batch: str | None = None
    membership: str = ""


class GapRow(msgspec.Struct, frozen=True):
    """A stretch of history not fetched yet.

    Attributes:
        token: /messages backwards from here.
        from_start: it reaches back to the room's beginning.
        opened: the newest change when it was opened; what fills it is news to whoever was reading then.
        problem: why it could not be filled at the last attempt; None when nothing stands in the way.
    """

    id: int
    room_id: str
    token: str
    from_start: bool
    opened: int
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Applied:
    """What a commit did: the newest change, and which events it added (not those known before).

    Attributes:
        unscrubbed: redacted content may still stand in the database's log; `Rooms.scrub` takes it.
    """

    change: int
    added: tuple[EventRow, ...] = field(default=())
    added_in: tuple[str, ...] = field(default=())
    reached_known: bool = False
    unscrubbed: str | None = None


class LostRecord(msgspec.Struct, frozen=True):
    """A record of our own that the server acknowledged and no longer has.

    Attributes:
        content: the event's content as it was sent.
        value: the record as JSON text.
        time: the record's time, microseconds since 1970 UTC.
        origin_time: when the server acknowledged it, milliseconds since 1970.
    """

    room_id: str
    event_id: str
    type: str
    content: bytes
    uid: str
    value: bytes
    time: int
    origin_time: int


class StoredEvent(msgspec.Struct, frozen=True):
    """An event as read back from the replica.

    Attributes:
        change: at which it was first valid; of an event that never was, the one that brought it.
        edited: the value is that of an edit.
        schema: content hash of the schema it names.
        sealed: it came encrypted.
    """

    event_id: str
    type: str
    state_key: str | None
    sender: str
    origin_time: int
    content: bytes | None
    row_state: str
    problems: bytes | None
    uid: str | None
    value: bytes | None
    time: int | None
    change: int
    edited: bool
    schema: str | None = None
    sealed: bool = False


class FeedEntry(msgspec.Struct, frozen=True):
    """One change of the feed, with the event it is about as it is now.

    Attributes:
        change: its number, which is not that of the event where the event changed again.
        kind: "live", "backfilled", "redaction", "revalidated", "invalidated", "edited" or "late_key".
        first: the event became valid with this change and was not before.
        record: the event is one of ours.
        shadowed: another event with the same (sender, uid) counts instead.
        repeat: another event with the same (sender, uid) came before this one.
        position: where the event stands in the timeline.
        opened: of an event that came from a gap, the newest change when that gap was opened; else 0.
    """

    change: int
    kind: str
    event: StoredEvent
    record: bool
    shadowed: bool
    repeat: bool
    position: int
    opened: int = 0
    first: bool = False


class FeedPage(msgspec.Struct, frozen=True):
    """A part of one room's feed, read at one moment.

    Attributes:
        reached: everything up to this change is in this page and those before it.
        more: there may be more after it.
        gaps: those open at that moment; rows that come after this page fill them.
        passed: ids of events that were valid within this page and are not now. Should one become valid again, its
            entry is not a `first` one, and yet news to whoever read this page.
    """

    entries: tuple[FeedEntry, ...]
    reached: int
    more: bool
    gaps: tuple[GapRow, ...]
    passed: frozenset[str] = frozenset()
