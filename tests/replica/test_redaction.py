"""What was redacted is in no file of the store, however long it was and whatever stood beside it."""

from __future__ import annotations

import anyio
import pytest

from matrixdata.protocol.pruning import pruned
from matrixdata.replica.database import Database
from matrixdata.replica.rooms import Rooms
from matrixdata.replica.rows import RoomChange, StateRow
from tests.replica.test_timeline import ROOM, event

CANARY = b"canary"


def traces(place):
    return [path.name for path in place.iterdir() if CANARY in path.read_bytes()]


def secret(number, size):
    text = b'{"secret":"' + (CANARY + b"-%d " % number) * (size // 10 + 1) + b'"}'
    return event(number, content=text, value=text, problems=text, row_state="valid")


def plain(number):
    return event(number, content=b'{"x":"%s"}' % (b"y" * (number * 37 % 900)))


def test_redacted_content_leaves_the_file_and_its_log(tmp_path):
    async def scenario():
        database = Database(tmp_path / "replica.db", kind="replica", synchronous="NORMAL")
        rooms = Rooms(database)
        sizes = [1, 50, 400, 1500, 3900, 5000, 20_000, 60_000]
        secrets = {n * 7: sizes[n % len(sizes)] for n in range(80)}
        rows = [secret(n, secrets[n]) if n in secrets else plain(n) for n in range(600)]
        for start in range(0, 600, 50):
            await rooms.apply([RoomChange(ROOM, events=tuple(rows[start : start + 50]))], tokens={})
        assert traces(tmp_path)
        applied = None
        for number, target in enumerate(secrets, start=1000):
            applied = await rooms.apply(
                [RoomChange(ROOM, events=(event(number, redacts=target),))], tokens={}
            )
        assert applied.unscrubbed is not None
        assert await rooms.scrub(applied.unscrubbed)
        assert traces(tmp_path) == []
        assert (tmp_path / "replica.db-wal").stat().st_size < 20_000
        applied = await rooms.apply([RoomChange(ROOM, events=(plain(700),))], tokens={})
        assert applied.unscrubbed is None
        await database.aclose()

    anyio.run(scenario)


def test_a_reader_delays_that_and_nothing_else_and_it_is_remembered(tmp_path):
    async def scenario():
        def opened():
            return Database(tmp_path / "replica.db", kind="replica", synchronous="NORMAL")

        database = opened()
        rooms = Rooms(database)
        await rooms.apply([RoomChange(ROOM, events=(secret(1, 100),))], tokens={})
        async with database.snapshot() as reading:
            await reading.run(lambda c: c.execute("SELECT count(*) FROM event").fetchone())
            change = RoomChange(ROOM, events=(event(2, redacts=1),))
            applied = await rooms.apply([change], tokens={})
            with anyio.fail_after(5):
                assert not await rooms.scrub(applied.unscrubbed)
                await rooms.apply([RoomChange(ROOM, events=(plain(3),))], tokens={})
        again = opened()  # as the next process would, had this one been killed
        upto = await Rooms(again).unscrubbed()
        assert await Rooms(again).scrub(upto)
        assert traces(tmp_path) == []
        assert await Rooms(again).unscrubbed() is None
        await again.aclose()
        await database.aclose()

    anyio.run(scenario)


@pytest.mark.parametrize("redaction_first", [False, True])
def test_a_state_event_that_is_told_again_after_its_redaction_brings_nothing_back(tmp_path, redaction_first):
    async def scenario():
        database = Database(tmp_path / "replica.db", kind="replica", synchronous="NORMAL")
        rooms = Rooms(database)
        content = b'{"membership":"join","displayname":"canary"}'
        state = (
            StateRow("m.room.member", "@a:x", "$0001", "@a:x", 1, content),
            StateRow("io.example", "", "$0003", "@a:x", 1, b'{"secret":"canary"}'),
        )
        told = RoomChange(ROOM, events=(event(0),), state=state)
        gone = RoomChange(ROOM, events=(event(5, redacts=1), event(6, redacts=3)))
        for change in (gone, told) if redaction_first else (told, gone, told):
            await rooms.apply([change], tokens={})
        rows = {row.type: (row.content, row.redacted) for row in await rooms.state(ROOM)}
        assert rows == {"m.room.member": (b'{"membership":"join"}', True), "io.example": (b"{}", True)}
        assert await database.scrub()
        assert traces(tmp_path) == []
        await database.aclose()

    anyio.run(scenario)


@pytest.mark.parametrize(
    ("event_type", "content", "left"),
    [
        ("io.example", b'{"a":1}', b"{}"),
        ("m.room.create", b'{"a":1}', b'{"a":1}'),
        (
            "m.room.history_visibility",
            b'{"history_visibility":"shared","a":1}',
            b'{"history_visibility":"shared"}',
        ),
        ("m.room.member", b"[1]", b"{}"),
    ],
)
def test_what_a_redaction_leaves_is_what_room_versions_11_and_12_say(event_type, content, left):
    assert pruned(event_type, content) == left
