"""The format of a store's files: one numbered .sql file a step, forward only, each in its own transaction."""

from __future__ import annotations

import sqlite3
from importlib import resources
from typing import TYPE_CHECKING

from matrixdata.errors import StoreCorrupt

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


def steps(kind: str) -> list[str]:
    """The scripts that make the newest format out of an empty file, in order; kind is "account" or "replica"."""
    folder = resources.files("matrixdata.replica") / "migrations"
    found = sorted(
        (step for step in folder.iterdir() if step.name.startswith(f"{kind}_")), key=lambda s: s.name
    )
    return [step.read_text(encoding="utf-8") for step in found]


def migrate(connection: sqlite3.Connection, scripts: Sequence[str], path: Path) -> None:
    """Bring a file to the newest format.

    Raises:
        StoreCorrupt: a newer version of this library wrote it; nothing was changed.
    """
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(scripts):
        raise StoreCorrupt(
            f"{path} was written by a newer matrixdata (format {version}, this one knows {len(scripts)}); "
            "upgrade matrixdata, or use another store=",
            path=str(path),
        )
    for number, script in enumerate(scripts, start=1):
        if number > version:
            _apply(connection, script, number)


def _apply(connection: sqlite3.Connection, script: str, number: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have migrated while we waited for the lock.
        if connection.execute("PRAGMA user_version").fetchone()[0] < number:
            for statement in statements(script):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def statements(script: str) -> Iterator[str]:
    """Each statement of a script; executescript() cannot be used, for it commits on its own."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
