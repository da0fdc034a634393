"""To-device events that the engine put aside for verifications and secrets, and how old they may become."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matrixdata.encryption import to_device

if TYPE_CHECKING:
    from matrixdata.encryption.port import ToDevice
    from matrixdata.encryption.transaction import Transaction

OLDEST = 600_000_000
"""Microseconds: what nobody took within ten minutes is of no use (spec "Key verification framework")."""


def waiting(tx: Transaction, prefix: str) -> list[tuple[int, ToDevice]]:
    """Events of the types that begin like this, each with its number; those that became too old are dropped."""
    tx.connection.execute("DELETE FROM inbox WHERE abs(? - at) > ?", (tx.me.clock(), OLDEST))
    return [(number, event) for number, event in to_device.inbox(tx) if event.type.startswith(prefix)]


def is_waiting(tx: Transaction) -> bool:
    """Whether there is anything."""
    return tx.connection.execute("SELECT 1 FROM inbox LIMIT 1").fetchone() is not None
