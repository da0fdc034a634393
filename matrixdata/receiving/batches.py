"""From a batch to its rows: one for the event, one for each record. Pure; nothing raises for what others sent.

Its records are read when they are stored, and not kept: compressed, a page of history may hold millions.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from matrixdata.model import Problem, RowState
from matrixdata.model.member import member_key, split_key
from matrixdata.protocol.batch import BATCH, RETRACTION, unpack_batch, unpack_retraction
from matrixdata.protocol.numbers import WireError
from matrixdata.protocol.rules import is_clean
from matrixdata.protocol.sync import MalformedResponse, decode
from matrixdata.receiving.judging import invalid_row, listed
from matrixdata.replica.rows import EventRow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matrixdata.model import JSON
    from matrixdata.protocol.batch import BatchContent, Member
    from matrixdata.replica.rows import StoredEvent
    from matrixdata.replica.rules import Rules

KINDS: Final = frozenset({BATCH, RETRACTION})
"""The types of events that are read here."""


def batch_row(row: EventRow, rules: Rules) -> EventRow:
    """The row of a batch or of a retraction, which are no records themselves; invalid ones are listed as such."""
    try:
        content = decode(row.content or b"")
        if row.type == RETRACTION:
            return replace(row, record=False, retracts=member_key(*unpack_retraction(content)))
        batch = unpack_batch(content)
    except MalformedResponse as error:
        return invalid_row(row, [Problem("", "event", str(error))])
    except WireError as error:
        return invalid_row(row, error.problems)
    found = replace(row, record=False, uid=batch.uid, schema=batch.schema_hash)
    return replace(found, parts=partial(_parts, found, batch, rules))


def _parts(row: EventRow, batch: BatchContent, rules: Rules) -> Iterator[EventRow]:
    try:
        members = batch.members()
    except WireError as error:
        yield invalid_row(replace(row, uid=None), error.problems)
        return
    yield row
    for index, member in enumerate(members):
        yield _member_row(row, index, member, rules)


def _member_row(row: EventRow, index: int, member: Member, rules: Rules) -> EventRow:
    problems, time = list(member.problems), None
    if not problems:
        problems, time = _judged(member.value, row.schema, rules)
    if problems:
        value, content, state = None, _text(member), RowState.INVALID
    else:
        value, content, state = msgspec.json.encode(member.value), None, RowState.VALID
        time = row.origin_time * 1000 if time is None else time
    return EventRow(
        event_id=member_key(row.event_id, index),
        type=row.type,
        state_key=None,
        sender=row.sender,
        origin_time=row.origin_time,
        content=content,
        record=True,
        row_state=state,
        problems=listed(problems) if problems else None,
        uid=member.uid,
        schema=row.schema,
        value=value,
        time=time,
        item=index,
        sealed=row.sealed,
    )


def _judged(value: JSON, schema_hash: str | None, rules: Rules) -> tuple[list[Problem], int | None]:
    """Why a value that may be a record is none under these rules; and its time, None where it states none."""
    schema = rules.schemas.get(schema_hash or "")
    time = rules.time_of(value)
    if schema is not None and schema.is_valid(value) and (time is not None or not _states_time(rules)):
        return [], time
    problems = rules.problems(value, schema_hash)
    return problems, None if problems else time


def _states_time(rules: Rules) -> bool:
    return rules.collection is not None and rules.collection.time is not None


def member_again(stored: StoredEvent, rules: Rules) -> EventRow | None:
    """The row of a record in a batch under rules that may have changed since; None for any other event.

    What cannot be a record under any rules stays as it is.
    """
    _, index = split_key(stored.event_id)
    if index is None:
        return None
    row = EventRow(
        event_id=stored.event_id,
        type=stored.type,
        state_key=None,
        sender=stored.sender,
        origin_time=stored.origin_time,
        content=None,
        record=True,
        row_state=RowState.VALID,
        uid=stored.uid,
        schema=stored.schema,
        item=index,
    )
    value = _readable(stored)
    if value is None:
        return replace(row, row_state=RowState(stored.row_state), time=stored.time)
    problems, time = _judged(value, row.schema, rules)
    if problems:
        text = stored.value if stored.value is not None else stored.content
        return replace(row, content=text, row_state=RowState.INVALID, problems=listed(problems))
    time = row.origin_time * 1000 if time is None else time
    return replace(row, value=msgspec.json.encode(value), time=time)


def _readable(stored: StoredEvent) -> JSON:
    """A record's value; None where what stands there can be none under any rules."""
    if stored.value is not None:
        value: JSON = msgspec.json.decode(stored.value)
        return value
    try:
        value = msgspec.json.decode(stored.content or b"null")
    except (msgspec.MsgspecError, RecursionError):
        return None
    return value if stored.uid is not None and isinstance(value, dict) and is_clean(value) else None


def _text(member: Member) -> bytes | None:
    """What stands there, for whoever looks at it; not always JSON."""
    try:
        return json.dumps(member.value).encode()
    except RecursionError:
        return None
