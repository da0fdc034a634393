"""Edits of records: which one is in force (docs/wire-format.md, "Edits"). Inside a transaction.

The row of an edited record carries the value of the edit in force, so that every reader meets it; its own value is
kept beside it for the day the edit is redacted. Edits are rows of their own and no records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

_COLUMNS = "id, event_id, sender, type, content, origin_time, value, time, schema, sealed"


class _Original(msgspec.Struct, frozen=True):
    key: int
    sender: str
    type: str
    uid: str | None
    record: bool
    row_state: str
    edits: str | None
    edited: int | None
    sealed: int


class _Edit(msgspec.Struct, frozen=True):
    key: int
    event_id: str
    sender: str
    type: str
    content: bytes
    origin_time: int
    value: bytes
    time: int | None
    schema: str | None
    sealed: int


def settle_arrivals(c: sqlite3.Connection, room: int, first: int, targets: Iterable[str]) -> None:
    """After new rows from id `first` on: put edits in force, those among them and those that waited for them."""
    for target in dict.fromkeys(targets):
        known = c.execute("SELECT id FROM event WHERE room = ? AND event_id = ?", (room, target)).fetchone()
        # Who meets the record itself among what is new meets it as it is now.
        settle(c, room, target, tell=known is not None and known[0] < first)
    waited = c.execute(
        "SELECT DISTINCT d.edits FROM event d JOIN event e ON e.event_id = d.edits"
        " WHERE d.edits IS NOT NULL AND d.room = ? AND e.id >= ?",
        (room, first),
    ).fetchall()
    for (target,) in waited:
        settle(c, room, target, tell=False)


def settle(c: sqlite3.Connection, room: int, target: str, *, tell: bool, by: int | None = None) -> None:
    """Put in force the edit of an event that is to be, and list those that can never be.

    `target` is the event edited; nothing happens before that is here. `tell` lets subscribers know of a change;
    `by` is the row of the event that made it, where that is not the edit put in force.
    """
    original = _original(c, room, target)
    if original is None:
        return
    best: _Edit | None = None
    for edit in _edits(c, room, target):
        problem = _fault(original, edit)
        if problem is not None:
            _refuse(c, edit.key, problem)
        elif best is None or (edit.origin_time, edit.event_id) > (best.origin_time, best.event_id):
            best = edit
    if original.row_state != "valid":
        return
    if (best.key if best else None) == original.edited:
        return
    _put_in_force(c, original, best)
    if tell:
        cause = best.key if best is not None and by is None else by
        c.execute(
            "INSERT INTO change (room, event, kind, by) VALUES (?, ?, 'edited', ?)",
            (room, original.key, cause),
        )


def forget(c: sqlite3.Connection, key: int) -> None:
    """No edit is in force any more on this row, whose own value is about to be replaced or removed."""
    c.execute("DELETE FROM unedited WHERE event = ?", (key,))
    c.execute("UPDATE event SET edited = NULL WHERE id = ? AND edited IS NOT NULL", (key,))


def release(c: sqlite3.Connection, room: int, target: str) -> None:
    """An event was redacted: of what edits it, only that is refused which a reader who comes now would refuse."""
    c.execute(
        "UPDATE event SET row_state = 'valid', problems = NULL WHERE room = ? AND edits = ? AND row_state = 'invalid'"
        ' AND substr(CAST(problems AS TEXT), 1, 11) = \'[["","edit"\'',
        (room, target),
    )
    settle(c, room, target, tell=False)


def _original(c: sqlite3.Connection, room: int, target: str) -> _Original | None:
    query = (
        "SELECT id, sender, type, uid, record, row_state, edits, edited, sealed FROM event"
        " WHERE room = ? AND event_id = ?"
    )
    row = c.execute(query, (room, target)).fetchone()
    return _Original(*row) if row else None


def _edits(c: sqlite3.Connection, room: int, target: str) -> list[_Edit]:
    query = f"SELECT {_COLUMNS} FROM event WHERE room = ? AND edits = ? AND row_state = 'valid'"  # noqa: S608  constants
    return [_Edit(*row) for row in c.execute(query, (room, target)).fetchall()]


def _fault(original: _Original, edit: _Edit) -> str | None:
    """Why this can never be an edit of that; None when it can."""
    if original.sender != edit.sender:
        return "it edits an event of somebody else"
    if original.edits is not None:
        return "it edits an event that is an edit itself"
    if original.sealed and not edit.sealed:
        return "it edits an encrypted event and is not encrypted itself, so that any server could have written it"
    # Of an event that cannot be read (yet) nothing more is known.
    return None if original.row_state == "undecryptable" else _mismatch(original, edit)


def _mismatch(original: _Original, edit: _Edit) -> str | None:
    if original.type != edit.type:
        return f"it edits an event of another type, {original.type}"
    uid = _uid_of(edit.content)
    if original.row_state != "redacted" and uid != original.uid:
        return "its uid is not that of the record it edits"
    return None


def _uid_of(content: bytes) -> Any:  # noqa: ANN401  whatever JSON stands there
    members = msgspec.json.decode(content)
    return members["m.new_content"].get("uid")


def _refuse(c: sqlite3.Connection, key: int, problem: str) -> None:
    listed = msgspec.json.encode([["", "edit", problem, ""]])
    c.execute(
        "UPDATE event SET row_state = 'invalid', problems = ?, value = NULL, time = NULL WHERE id = ?",
        (listed, key),
    )


def _put_in_force(c: sqlite3.Connection, original: _Original, edit: _Edit | None) -> None:
    if original.edited is None:
        c.execute(
            "INSERT INTO unedited SELECT id, value, time, schema FROM event WHERE id = ?", (original.key,)
        )
    value, time, schema = c.execute(
        "SELECT value, time, schema FROM unedited WHERE event = ?", (original.key,)
    ).fetchone()
    if edit is None:
        c.execute("DELETE FROM unedited WHERE event = ?", (original.key,))
    else:
        value, schema = edit.value, edit.schema
        time = time if edit.time is None else edit.time
    c.execute(
        "UPDATE event SET value = ?, time = ?, schema = ?, edited = ? WHERE id = ?",
        (value, time, schema, edit.key if edit else None, original.key),
    )
