"""Every write and every fsync of a scripted run fails once: what was acknowledged is stored, and nothing is torn."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass, field

import anyio
import pytest

import matrixdata as md
from matrixdata.replica.account import Session
from matrixdata.replica.outbox_item import OutboxItem
from matrixdata.replica.rows import EventRow, RoomChange, StateRow
from matrixdata.replica.scan import Span
from matrixdata.replica.store import Store
from tests.failing_disk import FailingDisk
from tests.faults.harness import Break, fault

pytestmark = pytest.mark.slow

ROOM = "!room:example.org"
ROUNDS = 2


@dataclass
class Told:
    """What the operations said, in their order: accepted uids, names bound, sync rounds committed."""

    yes: list[str] = field(default_factory=list)
    no: list[str] = field(default_factory=list)


def item(uid):
    return OutboxItem(
        room_id=ROOM,
        uid=uid,
        txn_id=f"txn-{uid}",
        type="io.matrixdata.record",
        content=b'{"value":"%s"}' % (b"x" * 9000),
        value=b"1",
        time=1,
        accepted_at=1,
    )


def event(number):
    return EventRow(
        event_id=f"${number}",
        type="io.matrixdata.record",
        state_key=None,
        sender="@ada:example.org",
        origin_time=number,
        content=b'{"value":"%s"}' % (b"z" * 9000),
        record=True,
        row_state="valid",
        uid=f"e{number}",
        value=b"2",
        time=number,
    )


def state(number):
    return StateRow("m.room.topic", "", f"$t{number}", "@ada:example.org", number, b'{"topic":"%d"}' % number)


async def scripted(directory, disk, told):
    """Some life of a store. Where an operation fails the next goes on, without opening the store again."""

    async def attempt(name, work):
        try:
            await work()
        except md.StoreFull:
            told.no.append(name)
        else:
            told.yes.append(name)

    store = Store(directory, connect=disk.connect)
    try:
        session = Session("https://example.org", "@ada:example.org", "DEVICE", "token")
        await attempt("session", lambda: store.account.save_session(session))
        for n in range(ROUNDS):
            await attempt(f"item {n}", lambda n=n: store.outbox.accept([item(f"u{n}")]))
            await attempt(f"bind {n}", lambda n=n: store.account.bind(f"name{n}", ROOM))
            change = RoomChange(ROOM, events=(event(2 * n), event(2 * n + 1)), state=(state(n),))
            await attempt(f"sync {n}", lambda n=n, c=change: store.rooms.apply([c], tokens={"v2": f"s{n}"}))
        await store.outbox.counts()
    finally:
        await store.aclose()


async def present(directory):
    """What is there, on a disk that is well: what the operations were about, and whether rows and tokens agree."""
    store = Store(directory)
    try:
        found = {f"item {each.uid[1:]}" for each in await store.outbox.list()}
        found |= {f"bind {name[4:]}" for name in await store.account.bindings()}
        if await store.account.session():
            found.add("session")
        rows = [row async for page in store.rooms.scan(ROOM).records(Span()) for row in page]
        rounds = {int(row[2][1:]) // 2 for row in rows}
        assert len(rows) == 2 * len(rounds), "half of a sync response"
        token, topics = await store.rooms.token("v2"), await store.rooms.state(ROOM)
        if rounds:
            assert token == f"s{max(rounds)}", "a token without its rows, or rows without their token"
            assert [row.event_id for row in topics] == [f"$t{max(rounds)}"]
        else:
            assert token is None
        return found | {f"sync {n}" for n in rounds}
    finally:
        await store.aclose()


def whole(path):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def run(template, directory, first, last):
    """The script on a copy of a store, on a disk whose writes and syncs `first` to `last` fail."""
    shutil.copytree(template, directory)
    disk, told = FailingDisk(first, last), Told()
    try:
        with suppress(md.StoreFull):  # already opening it failed
            await scripted(directory, disk, told)
    finally:
        disk.close()
    return disk, told


async def made(directory):
    store = Store(directory)
    await store.rooms.lead()
    await store.aclose()


UNNAMED = Break("matrixdata/replica/failures.py", '    "SQLITE_IOERR_FSYNC",\n', "")
UNHEARD = Break(
    "matrixdata/replica/database.py",
    '            self._writer.execute("COMMIT")\n        except',
    "            with suppress(sqlite3.Error):\n"
    '                self._writer.execute("COMMIT")\n'
    "            self._give_up()\n"
    "        except",
)


@fault("F24", "P4", broken=(UNNAMED, UNHEARD))
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
def test_whichever_write_or_sync_fails_what_was_acknowledged_is_stored_and_whole(tmp_path, lasting):
    async def all_of_them():
        template = tmp_path / "template"
        await made(template)
        healthy, told = await run(template, tmp_path / "healthy", 0, -1)
        assert (told.no, len(told.yes)) == ([], 1 + 3 * ROUNDS)
        assert {"write", "sync"} <= set(healthy.log)
        for number in range(1, len(healthy.log) + 1, 3 if lasting else 1):
            directory = tmp_path / f"{number}"
            _, told = await run(template, directory, number, 10**9 if lasting else number)
            await check(directory, told, number)
            assert lasting or len(told.no) <= 1, f"one failure, of number {number}, hit several operations"

    async def check(directory, told, number):
        assert all(whole(directory / name) for name in ("account.db", "replica.db")), number
        found = await present(directory)
        assert set(told.yes) <= found, f"acknowledged, and lost when number {number} failed"
        assert found <= {*told.yes, *told.no}, number

    anyio.run(all_of_them)


def test_a_store_whose_making_fails_at_any_write_can_be_made_after_all(tmp_path):
    async def all_of_them():
        disk = FailingDisk()
        await Store(tmp_path / "healthy", connect=disk.connect).aclose()
        disk.close()
        for number in range(1, len(disk.log), 7):
            failing = FailingDisk(number, number)
            try:
                await Store(tmp_path / f"{number}", connect=failing.connect).aclose()
            except md.StoreFull:
                await Store(tmp_path / f"{number}").aclose()
            finally:
                failing.close()
            assert await present(tmp_path / f"{number}") == set()

    anyio.run(all_of_them)
