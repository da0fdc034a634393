"""A store of every released format opens, with everything in it; a step that fails leaves the format before it."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import tempfile
from contextlib import closing
from importlib import resources
from pathlib import Path

import anyio
import pytest

from matrixdata.replica.account import Cursor
from matrixdata.replica.migrating import migrate, statements, steps
from matrixdata.replica.outbox_item import OutboxItem
from matrixdata.replica.rows import EventRow, RoomChange, StateRow
from matrixdata.replica.scan import Span
from matrixdata.replica.store import Store
from matrixdata.replica.sums import register

RELEASED = Path(__file__).parent / "released"
DIGESTS = RELEASED / "digests.json"
KINDS = ("account", "replica")
FORMATS = sorted({int(path.name.split("-")[1]) for path in RELEASED.glob("format-*.sql")})
ROOM = "!room:example.org"


async def fill(directory):
    """Something in every part of a store."""
    store = Store(directory)
    await store.account.bind("readings", ROOM)
    await store.account.intend("planned", "creation-1")
    await store.account.save_cursor(ROOM, "mine", Cursor("aabbccdd", 3, since=1))
    items = [
        OutboxItem(ROOM, f"u{n}", f"txn{n}", "io.matrixdata.record", b'{"n":1}', b"1", time=n, accepted_at=n)
        for n in (7, 9)
    ]
    stored = await store.outbox.accept(items)
    await store.outbox.stuck(stored[1], "M_FORBIDDEN")
    event = EventRow(
        event_id="$one",
        type="io.matrixdata.record",
        state_key=None,
        sender="@ada:example.org",
        origin_time=4,
        content=b'{"value":1}',
        record=True,
        row_state="valid",
        uid="u1",
        value=b"1",
        time=4000,
    )
    topic = StateRow("m.room.topic", "", "$topic", "@ada:example.org", 3, b'{"topic":"plants"}')
    change = RoomChange(ROOM, events=(event,), state=(topic,), limited=True, prev_batch="t1")
    await store.rooms.apply([change], tokens={"v2": "s1"})
    await store.aclose()


async def check(directory):
    """All of it is there."""
    store = Store(directory)
    try:
        assert store.trouble is None
        assert await store.account.bindings() == {"readings": ROOM}
        assert await store.account.intend("planned", "another") == ("creation-1", True)
        assert (await store.account.cursor(ROOM, "mine")).change == 3
        listed = await store.outbox.list()
        assert [(item.uid, item.state, item.reason) for item in listed] == [
            ("u7", "queued", None),
            ("u9", "stuck", "M_FORBIDDEN"),
        ]
        assert (await store.outbox.head(ROOM)).content == b'{"n":1}'
        assert await store.rooms.token("v2") == "s1"
        records = [row async for page in store.rooms.scan(ROOM).records(Span()) for row in page]
        assert [(row[0], row[3], row[4]) for row in records] == [("$one", b"1", 4000)]
        assert [(row.event_id, row.content) for row in await store.rooms.state(ROOM)] == [
            ("$topic", b'{"topic":"plants"}')
        ]
        assert [gap.token for gap in await store.rooms.gaps(ROOM)] == ["t1"]
    finally:
        await store.aclose()


def dumped(path):
    with closing(sqlite3.connect(path)) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        return "\n".join([*_lines(connection), f"PRAGMA user_version = {version};", ""])


def _lines(connection):
    """As iterdump, which writes to generated columns too."""
    schema = connection.execute(
        "SELECT type, name, sql FROM sqlite_schema WHERE sql NOT NULL AND name NOT LIKE 'sqlite_%'"
    )
    parts = schema.fetchall()
    yield from (f"{sql};" for kind, _, sql in parts if kind == "table")
    for kind, name, _ in parts:
        if kind == "table":
            columns = ", ".join(row[1] for row in connection.execute(f"PRAGMA table_info({name})"))
            quoted = ", ".join(f"quote({column})" for column in columns.split(", "))
            for row in connection.execute(f"SELECT {quoted} FROM {name}"):
                yield f"INSERT INTO {name} ({columns}) VALUES ({', '.join(row)});"
    yield from (f"{sql};" for kind, _, sql in parts if kind != "table")


def load(path, dump):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        register(connection)
        for statement in statements(dump):
            connection.execute(statement)


def newest():
    """A dump of a store of the present format, by kind."""
    with tempfile.TemporaryDirectory() as place:
        anyio.run(fill, Path(place) / "store")
        return {kind: dumped(Path(place) / "store" / f"{kind}.db") for kind in KINDS}


@pytest.mark.parametrize(
    "number", [*FORMATS, None], ids=lambda number: f"format {number}" if number else "present"
)
def test_everything_in_a_store_of_each_format_is_there(tmp_path, number):
    dumps = (
        newest()
        if number is None
        else {k: (RELEASED / f"format-{number}-{k}.sql").read_text() for k in KINDS}
    )
    directory = tmp_path / "store"
    directory.mkdir()
    for kind, dump in dumps.items():
        load(directory / f"{kind}.db", dump)
    anyio.run(check, directory)


def test_a_released_step_never_changes_and_each_released_format_has_its_dump():
    released = json.loads(DIGESTS.read_text()) if DIGESTS.exists() else {}
    for name, digest in released.items():
        assert digests()[name] == digest, f"{name} was released and must not change: add a step"
        assert int(name.partition("_")[2][:4]) in FORMATS


def digests():
    folder = resources.files("matrixdata.replica") / "migrations"
    return {
        step.name: hashlib.sha256(step.read_bytes()).hexdigest()
        for step in sorted(folder.iterdir(), key=lambda step: step.name)
        if step.name.endswith(".sql")
    }


def test_a_step_that_fails_leaves_the_format_before_it_and_can_be_done_again(tmp_path):
    path = tmp_path / "x.db"
    first = "CREATE TABLE a (n);\nINSERT INTO a VALUES (1);\n"
    broken = "CREATE TABLE b (n);\nINSERT INTO a VALUES (2);\nINSERT INTO nowhere VALUES (1);\n"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        with pytest.raises(sqlite3.OperationalError, match="nowhere"):
            migrate(connection, [first, broken], path)
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("a",)]
        assert connection.execute("SELECT n FROM a").fetchall() == [(1,)]
        for _ in range(2):
            migrate(connection, [first, "CREATE TABLE b (n);\n"], path)
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)


def test_a_step_says_neither_begin_nor_commit():
    for kind in KINDS:
        for script in steps(kind):
            for statement in statements(script):
                lines = [line.partition("--")[0].strip() for line in statement.splitlines()]
                assert next(line for line in lines if line).split()[0].upper() not in {
                    "BEGIN",
                    "COMMIT",
                    "PRAGMA",
                }


if __name__ == "__main__":
    for kind, dump in newest().items():
        (RELEASED / f"format-{len(steps(kind))}-{kind}.sql").write_text(dump)
    DIGESTS.write_text(json.dumps(digests(), indent=1) + "\n")
