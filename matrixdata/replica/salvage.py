"""A damaged account.db: what can be read goes row by row into a new one, and what cannot is named.

The damaged file is kept. Nothing here is silent: each path ends in a StoreCorrupt for whoever opens the store, once;
opening it again goes on with what was saved.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from matrixdata.errors import StoreCorrupt, StoreFull
from matrixdata.model.problem import safe_text
from matrixdata.replica import files
from matrixdata.replica.failures import mapped_errors
from matrixdata.replica.migrating import migrate, steps
from matrixdata.replica.sums import DAMAGED, outbox_sum

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from matrixdata.replica.failures import Damaged
    from matrixdata.replica.mark import Mark

# Rows looked for one by one where a table cannot be read through.
_MOST_PROBES = 200_000
_NAMED = 20
# An earlier state of these may have encrypted something since: from it, another message would be encrypted the same way
# (fault F28). Without them the next message gets a new key.
_RATCHETS = ("megolm_outbound", "megolm_recipient")
# Answered by the index over these columns alone, which may be whole where the rows are not.
_BY_UID = "SELECT room_id, uid, id FROM outbox ORDER BY room_id, uid"


@dataclass(slots=True)
class _Saved:
    """What came of a salvage.

    Attributes:
        rows: how many rows were saved, by table.
        uids: of records that were accepted and cannot be read, where their index still names them.
        damaged: how many records could be read, and are not what was accepted.
        unread: how many rows of the outbox are known of and cannot be read.
    """

    rows: dict[str, int] = field(default_factory=dict)
    uids: list[str] = field(default_factory=list)
    damaged: int = 0
    unread: int = 0


def salvage(path: Path, mark: Mark, damage: Damaged) -> StoreCorrupt:
    """Save what can be read of a damaged account.db into a new one; the error that says what came of it."""
    found = files.file_id(path)
    try:
        with files.mending(path.parent):
            if files.file_id(path) != found:
                return StoreCorrupt(
                    f"{damage}; another process has just saved what could be read. Connect again",
                    path=str(path),
                )
            marked = mark.read()
            saved = _save(path, marked[2])
            kept = files.put_aside(path)
            finish(path)
    except OSError as error:
        raise StoreFull(
            f"{path} is damaged, and there is no room to save what can be read: {error}"
        ) from error
    with closing(sqlite3.connect(path)) as connection:
        mark.accept(connection)
    return StoreCorrupt(_told(kept, saved, damage), path=str(path), kept=str(kept))


def finish(path: Path) -> None:
    """Put a new file in its place whose predecessor was put aside by a process that died then."""
    new = _new(path)
    if new.exists() and not path.exists():
        new.rename(path)


def lost(path: Path, mark: Mark, marked: tuple[str, int, int], c: sqlite3.Connection) -> StoreCorrupt | None:
    """The error for a sound file that lacks what was committed to it, and says so once; None if it lacks nothing."""
    loss = mark.loss(marked, c)
    if loss is None:
        return None
    for table in _RATCHETS:
        c.execute(f"DELETE FROM {table}")  # noqa: S608  names of our own tables
    mark.accept(c)
    records = (
        f"{loss.records} record{'s' * (loss.records != 1)} accepted in them (number {loss.first} to {loss.last} of "
        "this store) may be lost: those that were sent are on the server, the others must be published again."
        if loss.records
        else "No accepted record is among them."
    )
    return StoreCorrupt(
        f"{path} lacks the last {loss.commits} commits made to it: its -wal file was removed or cut short, or "
        f"another copy was put in its place. {records} The rest is whole: connect again to go on with it.",
        path=str(path),
    )


def _new(path: Path) -> Path:
    return path.with_name(f"{path.name}.salvaged")


def _save(path: Path, numbered: int) -> _Saved:
    """Build the new file beside the damaged one, whole before it gets its name."""
    building = path.with_name(f"{path.name}.salvaging")
    files.remove(building)
    files.private_database(building)
    saved = _Saved()
    with mapped_errors(building), closing(_connected(building)) as new:
        migrate(new, steps("account"), building)
        tables = [row[0] for row in new.execute(_TABLES).fetchall()]
        new.execute("PRAGMA synchronous = FULL")
        new.execute("BEGIN")
        with closing(_connected(path)) as old:
            for table in tables:
                _copy(old, new, table, saved)
        # What travelled in a batch that is lost travels by itself; it may have been sent in there.
        new.execute(
            "UPDATE outbox SET batch = NULL, attempts = 1 WHERE batch IS NOT NULL"
            " AND batch NOT IN (SELECT id FROM outbox)"
        )
        # A number once given is not given again: it tells records apart in what was said of a loss.
        if (
            new.execute(
                "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'outbox'", (numbered,)
            ).rowcount
            == 0
        ):
            new.execute("INSERT INTO sqlite_sequence VALUES ('outbox', ?)", (numbered,))
        new.execute("COMMIT")
    building.rename(_new(path))
    return saved


_TABLES = (
    "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' "
    "AND name NOT IN ('mark', 'megolm_outbound', 'megolm_recipient')"
)


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=10
    )
    connection.row_factory = sqlite3.Row
    return connection


def _copy(old: sqlite3.Connection, new: sqlite3.Connection, table: str, saved: _Saved) -> None:
    columns = [row["name"] for row in new.execute(f"PRAGMA table_info({table})")]
    saved.rows[table] = 0
    for rowid, row in _found(old, new, table):
        if row is None:
            if table == "outbox":
                saved.unread += 1
                saved.uids += _uid(old, rowid)
            continue
        values = {name: row[name] for name in columns if name in row.keys()}  # noqa: SIM118  "in" looks at values
        if table == "outbox" and not _is_whole(values):
            values |= {"state": "stuck", "reason": DAMAGED}
            saved.damaged += 1
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        try:
            new.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(values.values()))  # noqa: S608  names of our own tables
            saved.rows[table] += 1
        except sqlite3.Error:  # it breaks what the table promises: not what was written there
            saved.unread += table == "outbox"


def _found(
    old: sqlite3.Connection, new: sqlite3.Connection, table: str
) -> Iterator[tuple[int, sqlite3.Row | None]]:
    """The rows that are known of, by number, None for those that cannot be read; without numbers, those that can."""
    info = new.execute("SELECT wr FROM pragma_table_list WHERE name = ?", (table,)).fetchone()
    if not info["wr"]:
        yield from ((rowid, _row(old, table, rowid)) for rowid in _rowids(old, table))
        return
    keys = [row["name"] for row in new.execute(f"PRAGMA table_info({table})") if row["pk"]]
    for direction in (
        "ASC",
        "DESC",
    ):  # from both ends up to the damage; a row that comes twice is refused as such
        order = ", ".join(f"{key} {direction}" for key in keys)
        yield from ((0, row) for row in _rows(old, f"SELECT * FROM {table} ORDER BY {order}"))  # noqa: S608  as above


def _is_whole(values: dict[str, Any]) -> bool:
    try:
        total = outbox_sum(values["room_id"], values["uid"], values["txn_id"], values["content"])
    except (KeyError, TypeError):
        return False
    return bool(values.get("checksum") == total)


def _rowids(old: sqlite3.Connection, table: str) -> list[int]:
    """Every row number that the table, one of its indexes or a look at each in between still tells of."""
    found: set[int] = set()
    for hint in ("NOT INDEXED", ""):
        for direction in ("ASC", "DESC"):
            for row in _rows(old, f"SELECT rowid FROM {table} {hint} ORDER BY rowid {direction}"):  # noqa: S608  as above
                found.add(row[0])
    if table != "outbox":
        return sorted(found)
    found.update(row["id"] for row in _rows(old, _BY_UID))
    lowest, highest = min(found, default=0), max(found, default=0)
    if highest - lowest < _MOST_PROBES:
        found.update(n for n in range(lowest, highest) if n not in found and _row(old, table, n) is not None)
    return sorted(found)


def _rows(old: sqlite3.Connection, query: str) -> Iterator[sqlite3.Row]:
    """Rows up to the first that cannot be read."""
    try:
        yield from old.execute(query)
    except sqlite3.Error:
        return


def _row(old: sqlite3.Connection, table: str, rowid: int) -> sqlite3.Row | None:
    return next(_rows(old, f"SELECT * FROM {table} NOT INDEXED WHERE rowid = {int(rowid)}"), None)  # noqa: S608  as above


def _uid(old: sqlite3.Connection, rowid: int) -> list[str]:
    return [row["uid"] for row in _rows(old, _BY_UID) if row["id"] == rowid]


def _told(kept: Path, saved: _Saved, damage: Damaged) -> str:
    rows = saved.rows
    lines = [
        f"{damage}. It is kept as {kept.name}, and what could be read of it is in a new one: "
        f"{rows.get('outbox', 0)} records of the outbox, {rows.get('binding', 0)} names of collections, "
        f"{rows.get('cursor', 0)} cursors, {'the' if rows.get('session') else 'no'} login.",
    ]
    if saved.unread:
        uids = ", ".join(safe_text(uid) for uid in saved.uids[:_NAMED])
        named = f" (uid {uids})" if uids else ""
        lines.append(f"{saved.unread} records of the outbox are lost{named}: publish them again.")
    elif not rows.get("outbox"):
        lines.append("How many records were waiting in the outbox cannot be known.")
    if saved.damaged:
        lines.append(
            f"{saved.damaged} records are not what was accepted; client.outbox.list() shows them as stuck."
        )
    lines.append("Connect again to go on.")
    return " ".join(lines)
