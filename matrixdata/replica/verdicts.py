"""Verdicts on rows already here, computed anew: late schemas, late keys. Inside a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matrixdata.replica.edits import forget, settle
from matrixdata.replica.winners import choose_winner

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from matrixdata.replica.rows import EventRow


def rejudge(c: sqlite3.Connection, room: int, rows: Sequence[EventRow]) -> None:
    """Store the verdicts that differ from what is stored; a row that is redacted meanwhile stays so."""
    for row in rows:
        _rejudge(c, room, row)


def _rejudge(c: sqlite3.Connection, room: int, row: EventRow) -> None:
    found = c.execute(
        "SELECT e.id, e.row_state, iif(e.edited IS NULL, e.time, u.time), e.born FROM event e"
        " LEFT JOIN unedited u ON u.event = e.id WHERE e.event_id = ? AND e.row_state <> 'redacted'",
        (row.event_id,),
    ).fetchone()
    if found is None or (found[1] == row.row_state and found[2] == row.time and row.edits is None):
        return
    key, before, _, born = found
    forget(c, key)
    c.execute(
        "UPDATE event SET row_state = ?, problems = ?, uid = ?, schema = ?, value = ?, time = ?,"
        " content = iif(item IS NULL, content, ?) WHERE id = ?",
        (row.row_state, row.problems, row.uid, row.schema, row.value, row.time, row.content, key),
    )
    if row.edits is not None:
        if row.row_state == "valid":
            c.execute(
                "UPDATE event SET born = (SELECT max(id) FROM change) WHERE id = ? AND born IS NULL", (key,)
            )
        settle(c, room, row.edits, tell=born is None)
        return
    if before != row.row_state:
        _note(c, room, key, valid=row.row_state == "valid")
    if row.uid is not None:
        choose_winner(c, room, row.sender, row.uid)
    settle(c, room, row.event_id, tell=False)


def _note(c: sqlite3.Connection, room: int, key: int, *, valid: bool) -> None:
    """Tell the feed. What becomes valid for the first time is born now: readers as of earlier must not meet it."""
    kind = "revalidated" if valid else "invalidated"
    change = c.execute("INSERT INTO change (room, event, kind) VALUES (?, ?, ?)", (room, key, kind)).lastrowid
    if valid:
        c.execute("UPDATE event SET born = ? WHERE id = ? AND born IS NULL", (change, key))
