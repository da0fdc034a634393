"""Which of several events with one (sender, uid) is the record (docs/wire-format.md, "Which event counts")."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3


def choose_winner(c: sqlite3.Connection, room: int, sender: str, uid: str) -> None:
    """Of all records with one (sender, uid), the smallest event id counts, in whatever order they came.

    Those that the server forgot count only where there is no other.
    """
    found = c.execute(
        "SELECT id FROM event WHERE room = ? AND uid = ? AND sender = ? AND record = 1"
        " ORDER BY id IN (SELECT event FROM forgotten), event_id",
        (room, uid, sender),
    ).fetchall()
    if len(found) > 1:
        c.executemany(
            "UPDATE event SET shadowed = ? WHERE id = ?",
            [(int(n > 0), key) for n, (key,) in enumerate(found)],
        )
    elif found:
        c.execute("UPDATE event SET shadowed = 0 WHERE id = ?", found[0])
