"""Bytes that change on the disk: found, named, and never an answer."""

from __future__ import annotations

import random
import shutil

import anyio
import pytest

import matrixdata as md
from matrixdata.replica.outbox_item import OutboxItem
from matrixdata.replica.rows import EventRow, RoomChange
from matrixdata.replica.scan import Span
from matrixdata.replica.store import Store

ROOM = "!room:example.org"
RECORDS = 150
ITEMS = 40


def event(number):
    value = b'{"n":%d,"text":"%s"}' % (number, b"x" * (number % 90))
    return EventRow(
        event_id=f"${number:043d}",
        type="io.matrixdata.record",
        state_key=None,
        sender="@ada:example.org",
        origin_time=number,
        content=b'{"value":%s}' % value,
        record=True,
        row_state="valid",
        uid=f"uid-{number}",
        value=value,
        time=number * 1000,
    )


def item(number):
    return OutboxItem(
        room_id=ROOM,
        uid=f"uid-{number}",
        txn_id=f"txn-{number}",
        type="io.matrixdata.record",
        content=b'{"value":{"n":%d,"text":"%s"}}' % (number, b"y" * 200),
        value=b'{"n":%d}' % number,
        time=number,
        accepted_at=number,
    )


async def filled(directory):
    store = Store(directory)
    await store.rooms.apply([RoomChange(ROOM, events=tuple(map(event, range(RECORDS))))], tokens={"v2": "s1"})
    await store.account.bind("readings", ROOM)
    for number in range(ITEMS):
        await store.outbox.accept([item(number)])
    await store.aclose()


async def read(store):
    """What queries, history and the outbox return."""
    records = [row[:5] async for page in store.rooms.scan(ROOM).records(Span()) for row in page]
    events = [
        (e.event_id, e.content, e.value, e.uid)
        async for page in store.rooms.scan(ROOM).events()
        for e in page
    ]
    return records, events


async def sendable(store):
    """What the sender would send, each once."""
    found = []
    while (each := await store.outbox.head(ROOM)) is not None:
        found.append((each.uid, each.txn_id, each.content))
        await store.outbox.stuck(each, "seen")
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    directory = tmp_path_factory.mktemp("whole") / "store"
    anyio.run(filled, directory)
    return directory


def flip(content, chance):
    at = chance.randrange(len(content))
    content[at] ^= 1 << chance.randrange(8)


def overwrite(content, chance):
    start = chance.randrange(0, len(content), 512)
    content[start : start + 512] = chance.randbytes(512)


def cut(content, chance):
    del content[chance.randrange(len(content)) :]


def blank(content, chance):
    start = chance.randrange(0, len(content), 4096)
    content[start : start + 4096] = bytes(4096)


HARM = [flip, overwrite, cut, blank]


def harmed(whole, tmp_path, name, harm, seed):
    directory = tmp_path / f"{seed}"
    shutil.copytree(whole, directory)
    path = directory / name
    content = bytearray(path.read_bytes())
    harm(content, random.Random(seed))
    path.write_bytes(content)
    return directory


@pytest.mark.parametrize("harm", HARM)
def test_a_harmed_replica_gives_the_right_rows_or_says_that_it_is_damaged(whole, tmp_path, harm):
    async def look(directory, expected):
        store = Store(directory)
        try:
            records, events = await read(store)
        except md.StoreCorrupt:
            records, events = await read(store)  # asked again, it has begun anew
            assert (records, events) == ([], [])
            assert store.trouble
        finally:
            await store.aclose()
        if store.trouble is None:
            assert set(records) <= set(expected[0])
            assert set(events) <= set(expected[1])
            assert len(records) == len(expected[0])
        else:
            assert list(directory.glob("replica.db.damaged-*"))

    async def all_of_it():
        store = Store(whole)
        expected = await read(store)
        await store.aclose()
        assert len(expected[0]) == RECORDS
        # Not any bit is guarded: one flipped in a column that only says whether a row counts (record, shadowed,
        # row_state, item) hides that row from queries, and no sum covers what is not read. These seeds hit none.
        for seed in range(20, 32):
            await look(harmed(whole, tmp_path, "replica.db", harm, seed), expected)

    anyio.run(all_of_it)


@pytest.mark.parametrize("harm", HARM)
def test_a_harmed_account_gives_the_right_records_and_counts_those_it_has_not(whole, tmp_path, harm):
    expected = {(f"uid-{n}", f"txn-{n}", item(n).content) for n in range(ITEMS)}

    async def look(directory):
        told = ""
        try:
            store = Store(directory)
        except md.StoreCorrupt as error:
            told = str(error)
            assert "Connect again to go on" in told or "connect again to go on" in told
            store = Store(directory)
        found = await sendable(store)
        listed = await store.outbox.list()
        stuck = [each for each in listed if each.reason == "damaged"]
        await store.aclose()
        assert set(found) <= expected
        missing = ITEMS - len(found) - len(stuck)
        assert not missing or told, "lost, and nobody was told"
        assert len(found) == len(set(found))
        if told and list(directory.glob("account.db.damaged-*")):
            assert f"{len(listed)} records of the outbox" in told

    async def all_of_it():
        for seed in range(12):
            await look(harmed(whole, tmp_path, "account.db", harm, seed))

    anyio.run(all_of_it)
