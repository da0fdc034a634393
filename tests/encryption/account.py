"""A transaction of an account.db in memory, with the real tables."""

from __future__ import annotations

import itertools
import sqlite3
from pathlib import Path

import matrixdata.replica
from matrixdata.encryption.transaction import Me, Transaction

TABLES = Path(matrixdata.replica.__file__).parent / "migrations" / "account_0001.sql"


def opened(user_id: str = "@alice:localhost", device_id: str = "DEVICE") -> Transaction:
    connection = sqlite3.connect(":memory:")
    connection.executescript(TABLES.read_text())
    ids = (f"id{number}" for number in itertools.count())
    me = Me(
        user_id, device_id, bytes(range(32)), clock=lambda: 1_700_000_000_000_000, new_id=lambda: next(ids)
    )
    return Transaction(connection, me)
