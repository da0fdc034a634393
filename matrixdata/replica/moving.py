"""What account.db changes when an upgraded room is followed: SQL on a given connection, in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matrixdata.replica.packing import unpack
from matrixdata.replica.sums import outbox_sum
from matrixdata.replica.wire import drop

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence


def move(
    c: sqlite3.Connection, old: Sequence[str], new: str, *, names: Sequence[str], items: Sequence[int]
) -> list[str]:
    """Let names mean the new room, let jobs go on in it, and queue stuck outbox items for it.

    Returns:
        The transaction ids of the items that were moved. The others stay as they are.
    """
    c.executemany("REPLACE INTO binding VALUES (?, ?)", [(name, new) for name in names])
    c.executemany(
        "UPDATE OR IGNORE job SET room_id = ? WHERE room_id = ?", [(new, room_id) for room_id in old]
    )
    return [txn_id for item in items for txn_id in _moved(c, item, new)]


def _moved(c: sqlite3.Connection, item: int, new: str) -> list[str]:
    """Its transaction id goes along, for servers know each only together with its room. Notes of attempts do not.

    They were about the old room, which surely has not got what is stuck. What decayed on the disk is not moved,
    nor what is in the outbox for the new room already.
    """
    packed = c.execute("SELECT batch FROM outbox WHERE id = ? AND batch IS NOT NULL", (item,)).fetchone()
    if packed is not None:
        unpack(c, packed[0])
    query = "SELECT room_id, uid, txn_id, content, checksum FROM outbox WHERE id = ? AND state = 'stuck'"
    row = c.execute(query, (item,)).fetchone()
    if row is None or outbox_sum(*row[:-1]) != row[-1]:
        return []
    _, uid, txn_id, content, _ = row
    change = (
        "UPDATE OR IGNORE outbox SET room_id = ?, checksum = ?, state = 'queued', reason = NULL, event_id = NULL,"
        " attempts = 0, first_attempt = NULL, last_attempt = NULL, next_attempt = NULL, after_event = NULL"
        " WHERE id = ?"
    )
    drop(c, item)
    return [txn_id] if c.execute(change, (new, outbox_sum(new, uid, txn_id, content), item)).rowcount else []
