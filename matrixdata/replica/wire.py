"""What an outbox item travels as in an encrypted room. Inside a transaction of account.db."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

import msgspec

from matrixdata.replica.sums import text_sum

if TYPE_CHECKING:
    import sqlite3


class Wire(msgspec.Struct, frozen=True):
    """An event as it is sent: its type, and the exact bytes of its content."""

    type: str
    content: bytes


class NotBegun(Enum):
    """Why an attempt did not begin."""

    GONE = auto()  # the item is not queued any more
    UNSEALED = auto()  # it cannot be encrypted yet: there is something to be done first


def kept(c: sqlite3.Connection, item: int) -> Wire | None:
    """What an item travels as; None while that is not fixed, or where it decayed on the disk."""
    row = c.execute("SELECT type, content, checksum FROM wire WHERE item = ?", (item,)).fetchone()
    return Wire(row[0], row[1]) if row and text_sum(row[1]) == row[2] else None


def keep(c: sqlite3.Connection, item: int, wire: Wire) -> None:
    """Fix what an item travels as from now on."""
    c.execute(
        "REPLACE INTO wire VALUES (?, ?, ?, ?)", (item, wire.type, wire.content, text_sum(wire.content))
    )


def drop(c: sqlite3.Connection, item: int) -> None:
    """An item that surely is not on the server, as after its room was replaced, is encrypted anew."""
    c.execute("DELETE FROM wire WHERE item = ?", (item,))
