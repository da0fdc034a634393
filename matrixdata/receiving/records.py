"""Stored rows as the records that readers meet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from matrixdata.model import InvalidRecord, Position, Problem, Record, RowState
from matrixdata.model.member import split_key
from matrixdata.protocol.batch import BATCH, unpack_batch

if TYPE_CHECKING:
    from matrixdata.model import JSON
    from matrixdata.replica.outbox_item import OutboxItem
    from matrixdata.replica.rows import StoredEvent
    from matrixdata.replica.rules import Rules

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(microseconds: int) -> datetime:
    """Microseconds since 1970 UTC as an aware datetime, exactly."""
    return _EPOCH + timedelta(microseconds=microseconds)


def microseconds(when: datetime) -> int:
    """An aware datetime as microseconds since 1970 UTC, exactly.

    Raises:
        ValueError: it has no time zone; guessing one would be wrong half of the year.
    """
    if when.tzinfo is None:
        raise ValueError(f"{when!r} has no time zone; add one, such as datetime.now(timezone.utc)")
    return (when - _EPOCH) // timedelta(microseconds=1)


def stored_record(event: StoredEvent, replica: str, *, change: int | None = None) -> Record:
    """A valid record's row as a Record; `change` is where the feed delivers it, if that is not where it was born."""
    event_id, index = split_key(event.event_id)
    return Record(
        value=msgspec.json.decode(event.value or b"null"),
        event_id=event_id,
        sender=event.sender,
        time=moment(event.time or 0),
        position=Position(event.change if change is None else change, replica),
        uid=event.uid or "",
        edited=event.edited,
        index=index,
    )


def pending_record(item: OutboxItem, user_id: str) -> Record:
    """A record still in the outbox, shown before it has been seen to arrive."""
    return Record(
        value=msgspec.json.decode(item.value),
        event_id=item.event_id,
        sender=user_id,
        time=moment(item.time),
        position=None,
        uid=item.uid,
        row_state=RowState.PENDING,
    )


def pending_records(item: OutboxItem, user_id: str, rules: Rules) -> list[Record]:
    """What an item of the outbox holds: one record, or those of a batch, whose times `rules` tell."""
    if item.type != BATCH:
        return [pending_record(item, user_id)]
    members = unpack_batch(msgspec.json.decode(item.content)).members()
    return [
        Record(
            value=member.value,
            event_id=item.event_id,
            sender=user_id,
            time=moment(item.time if (time := rules.time_of(member.value)) is None else time),
            position=None,
            uid=member.uid or "",
            row_state=RowState.PENDING,
            index=index,
        )
        for index, member in enumerate(members)
    ]


def invalid_record(event: StoredEvent) -> InvalidRecord:
    """A quarantined row with its reasons."""
    content: JSON = None
    try:
        content = msgspec.json.decode(event.content or b"null")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        content = (event.content or b"").decode("utf-8", "replace")
    listed: list[list[str]] = msgspec.json.decode(event.problems or b"[]")
    problems = tuple(Problem(*fields) for fields in listed)
    event_id, index = split_key(event.event_id)
    return InvalidRecord(
        event_id=event_id,
        sender=event.sender,
        time=moment(event.origin_time * 1000),
        content=content,
        problems=problems,
        index=index,
    )
