"""From an event to its row: decode, validate, one row state. Pure; nothing raises for what others sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from matrixdata.model import Problem, RowState
from matrixdata.protocol.content import RECORD, unpack_record
from matrixdata.protocol.edits import edited_event, new_content
from matrixdata.protocol.numbers import WireError
from matrixdata.protocol.sync import MalformedResponse, decode
from matrixdata.receiving.batches import KINDS, batch_row, member_again
from matrixdata.receiving.judging import invalid_row as _invalid
from matrixdata.replica.rows import Decryption, EventRow, StateRow
from matrixdata.replica.rules import RULE_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matrixdata.protocol.events import Event
    from matrixdata.receiving.opening import Opened
    from matrixdata.replica.rows import StoredEvent
    from matrixdata.replica.rules import Rules

_OURS = "io.matrixdata."
_FAULT = "event"
_CLEAR = Problem(
    "",
    "encryption",
    "it is not encrypted, in a room that is: anybody between its sender and us could have written it",
)


def event_row(event: Event, rules: Rules, opened: Opened | None = None) -> EventRow:
    """The row of one event under a room's rules; `opened` of one that came encrypted."""
    if opened is not None and opened.is_readable:
        event = opened.event
    ours = event.state_key is None and event.type.startswith(_OURS)
    row = EventRow(
        event_id=event.event_id,
        type=event.type,
        state_key=event.state_key,
        sender=event.sender,
        origin_time=event.origin_server_ts,
        content=event.content,
        record=ours,
        row_state=RowState.VALID,
        redacts=event.redacts,
        txn_id=event.txn_id,
        sealed=opened.decryption if opened is not None else None,
    )
    if event.redacted:
        # Of some state the server leaves what the room still needs; that stands in the current state.
        return replace(row, content=None, row_state=RowState.REDACTED)
    if event.fault:
        return _invalid(row, [Problem("", _FAULT, event.fault)])
    if opened is not None and not opened.is_readable:
        return replace(row, row_state=RowState.UNDECRYPTABLE)
    return _own_row(row, rules) if ours else row


def is_malformed(stored: StoredEvent) -> bool:
    """Whether the event itself was faulty, which no rules of a room can change."""
    listed = msgspec.json.decode(stored.problems or b"[]")
    return any(problem[1] == _FAULT for problem in listed)


def judged_again(stored: StoredEvent, rules: Rules) -> EventRow:
    """The row of an event already in the replica, under rules that may have changed since."""
    if (member := member_again(stored, rules)) is not None:
        if rules.requires_encryption and not stored.sealed:
            return _invalid(replace(member, content=stored.value or stored.content), [_CLEAR])
        return member
    row = EventRow(
        event_id=stored.event_id,
        type=stored.type,
        state_key=stored.state_key,
        sender=stored.sender,
        origin_time=stored.origin_time,
        content=stored.content,
        record=True,
        row_state=RowState.VALID,
        sealed=Decryption(None) if stored.sealed else None,
    )
    return _own_row(row, rules)


def state_rows(events: Iterable[Event]) -> tuple[StateRow, ...]:
    """The state events among events, in order; malformed ones set no state."""
    return tuple(
        StateRow(e.type, e.state_key, e.event_id, e.sender, e.origin_server_ts, e.content, e.redacted)
        for e in events
        if e.state_key is not None and not e.fault
    )


def membership_of(user_id: str, state: Iterable[StateRow]) -> str:
    """What these state events say of a user's membership, "" when nothing."""
    found = ""
    for row in state:
        if row.type == "m.room.member" and row.state_key == user_id:
            try:
                content = decode(row.content)
            except MalformedResponse:
                continue
            stated = content.get("membership") if isinstance(content, dict) else None
            found = stated if isinstance(stated, str) else found
    return found


def changes_rules(state: Iterable[StateRow]) -> bool:
    """Whether these state events change what records are judged by."""
    return any(row.type in RULE_TYPES for row in state)


def _own_row(row: EventRow, rules: Rules) -> EventRow:
    if rules.requires_encryption and not row.sealed:
        return _invalid(row, [_CLEAR])
    return batch_row(row, rules) if row.type in KINDS else _record_row(row, rules)


def _record_row(row: EventRow, rules: Rules) -> EventRow:
    """An edit is judged as the record that it would make; whether it may replace the other, the replica sees."""
    if row.type != RECORD:
        return _invalid(row, [Problem("", "version", f"{row.type} needs a newer matrixdata to be read")])
    edits: str | None = None
    try:
        found = decode(row.content or b"")
        edits = edited_event(found)
        content = unpack_record(new_content(found) if edits else found)
    except MalformedResponse as error:
        return _invalid(row, [Problem("", _FAULT, str(error))])
    except WireError as error:
        return _invalid(replace(row, edits=edits), error.problems)
    uid = None if edits else content.uid
    problems = rules.problems(content.value, content.schema_hash)
    if problems:
        return _invalid(replace(row, edits=edits, uid=uid, schema=content.schema_hash), problems)
    time = rules.time_of(content.value)
    if time is None and not edits:
        time = row.origin_time * 1000  # an edit leaves the record its own
    return replace(
        row,
        edits=edits,
        uid=uid,
        schema=content.schema_hash,
        record=edits is None,
        value=msgspec.json.encode(content.value),
        time=time,
    )
