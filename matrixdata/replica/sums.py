"""Checksums that tell a row whose bytes changed on the disk, where SQLite itself would not notice. Pure.

They guard against decay, not against people: whoever can write to the file can write the sum too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    import sqlite3

DAMAGED = "damaged"
"""Why an item of the outbox is stuck whose bytes changed on the disk; it is never queued again."""


def register(connection: sqlite3.Connection) -> None:
    """Let a connection write to replica.db, whose columns use these. For reading it they are not needed."""
    connection.create_function("record_sum", 5, record_sum, deterministic=True)
    connection.create_function("text_sum", 1, text_sum, deterministic=True)


def record_sum(event_id: str, sender: str, uid: str | None, time: int | None, value: bytes | None) -> int:
    """Of what a query returns of an event."""
    return crc32(value or b"", crc32(f"{event_id} {sender} {uid} {time}".encode()))


def text_sum(text: bytes | None) -> int:
    """Of one text."""
    return crc32(text or b"")


def outbox_sum(room_id: str, uid: str, txn_id: str, content: bytes) -> int:
    """Of an accepted record, and of where it goes."""
    return crc32(content, crc32(f"{room_id} {uid} {txn_id}".encode()))
