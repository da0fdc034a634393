"""One SQLite file under stress: shared commits, failures that hit only their own, cancellation, full disks."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import asynccontextmanager

import anyio
import pytest

import matrixdata as md
from matrixdata.replica.database import Database
from matrixdata.replica.store import Store
from tests.requirements import ROOT


@asynccontextmanager
async def opened(path, *, kind="account"):
    database = Database(path / "x.db", kind=kind, synchronous="FULL")
    try:
        await database.write(
            lambda c: c.execute("CREATE TABLE IF NOT EXISTS t (n INTEGER UNIQUE, text TEXT)")
        )
        yield database
    finally:
        await database.aclose()


def insert(number):
    return lambda c: c.execute("INSERT INTO t VALUES (?, 'x')", (number,))


async def numbers(database):
    query = "SELECT n FROM t ORDER BY n"
    return [row[0] for row in await database.read(lambda c: c.execute(query).fetchall())]


def commits(database):
    """Counts the commits from now on."""
    counted = []
    database._writer.set_trace_callback(lambda text: counted.append(text) if text == "COMMIT" else None)
    return counted


class Held:
    """A commit under way, held until let go."""

    def __init__(self):
        self.started, self.go = threading.Event(), threading.Event()

    def work(self, _):
        self.started.set()
        assert self.go.wait(20)

    async def under_way(self):
        await anyio.to_thread.run_sync(self.started.wait)


pytestmark = pytest.mark.anyio


async def test_callers_that_arrive_during_a_commit_share_the_next_one(tmp_path):
    async with opened(tmp_path) as database, anyio.create_task_group() as tasks:
        counted, held = commits(database), Held()
        tasks.start_soon(database.write, held.work)
        await held.under_way()
        for number in range(50):
            tasks.start_soon(database.write, insert(number))
        await anyio.wait_all_tasks_blocked()
        held.go.set()
        while len(await numbers(database)) < 50:
            await anyio.lowlevel.checkpoint()
        assert len(counted) == 2


async def test_a_job_that_fails_is_rolled_back_alone_and_told_alone(tmp_path):
    async with opened(tmp_path) as database:
        held, failures = Held(), []

        def half(connection):
            insert(1)(connection)
            raise md.Conflict("on purpose")

        async def failing(work):
            try:
                await database.write(work)
            except (md.Conflict, sqlite3.IntegrityError) as error:
                failures.append(type(error))

        await database.write(insert(0))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(database.write, held.work)
            await held.under_way()
            tasks.start_soon(failing, half)
            tasks.start_soon(failing, insert(0))
            tasks.start_soon(database.write, insert(2))
            await anyio.wait_all_tasks_blocked()
            held.go.set()
        assert await numbers(database) == [0, 2]
        assert sorted(map(str, failures)) == sorted(map(str, [md.Conflict, sqlite3.IntegrityError]))


async def test_a_job_cancelled_while_it_waits_writes_nothing_and_harms_no_other(tmp_path):
    async with opened(tmp_path) as database:
        held, scope = Held(), anyio.CancelScope()

        async def cancelled():
            with scope:
                await database.write(insert(1))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(database.write, held.work)
            await held.under_way()
            tasks.start_soon(cancelled)
            tasks.start_soon(database.write, insert(2))
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
            await anyio.wait_all_tasks_blocked()
            held.go.set()
        assert await numbers(database) == [2]


async def test_whoever_is_cancelled_at_the_head_of_the_queue_takes_nobody_with_it(tmp_path):
    """Cancelling at every possible step: the others' writes are all there, and each was told so."""
    async with opened(tmp_path) as database:
        for steps in range(12):
            base, scope, done = steps * 10, anyio.CancelScope(), []

            async def doomed(base=base, scope=scope):
                with scope:
                    await database.write(insert(base))

            async def other(number, done=done):
                cursor = await database.write(insert(number))
                assert cursor is not None
                done.append(number)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(doomed)
                for number in range(base + 1, base + 4):
                    tasks.start_soon(other, number)
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                scope.cancel()
            assert set(done) == {base + 1, base + 2, base + 3}
            assert set(done) <= set(await numbers(database))


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_asyncios_own_cancellation_during_a_commit_lets_no_two_commits_run_at_once(tmp_path):
    async with opened(tmp_path) as database:
        for round_number in range(20):
            base = round_number * 10
            held = Held()
            first = asyncio.create_task(database.write(held.work))
            await held.under_way()
            others = [asyncio.create_task(database.write(insert(base + n))) for n in range(3)]
            await asyncio.sleep(0)
            first.cancel()
            await asyncio.sleep(0)
            held.go.set()
            results = await asyncio.gather(first, *others, return_exceptions=True)
            assert isinstance(results[0], asyncio.CancelledError)
            assert [result for result in results[1:] if isinstance(result, BaseException)] == []
        assert len(await numbers(database)) == 60


async def test_a_full_disk_raises_store_full_and_nothing_is_acknowledged_that_is_not_stored(tmp_path):
    async with opened(tmp_path) as database:
        pages = database._writer.execute("PRAGMA page_count").fetchone()[0]
        database._writer.execute(f"PRAGMA max_page_count = {pages + 8}")
        acknowledged = []

        async def fill():
            for number in range(10_000):
                row = (number, "x" * 1000)
                await database.write(lambda c, row=row: c.execute("INSERT INTO t VALUES (?, ?)", row))
                acknowledged.append(number)

        with pytest.raises(md.StoreFull, match="Free some space"):
            await fill()
        assert await numbers(database) == acknowledged
        database._writer.execute("PRAGMA max_page_count = 1000000")
        await database.write(insert(10_000))
        assert await numbers(database) == [*acknowledged, 10_000]


async def test_a_snapshot_sees_one_moment_while_others_write_and_read(tmp_path):
    async with opened(tmp_path) as database:
        await database.write(insert(1))
        async with database.snapshot() as first, database.snapshot() as second:
            for number in range(2, 12):  # more readers than are kept open
                await database.write(insert(number))
                assert len(await numbers(database)) == number
            count = "SELECT count(*) FROM t"
            assert await first.run(lambda c: c.execute(count).fetchone()[0]) == 1
            assert await second.run(lambda c: c.execute(count).fetchone()[0]) == 1


async def test_readers_cannot_write(tmp_path):
    async with opened(tmp_path) as database:
        with pytest.raises(md.MatrixDataError, match=r"readonly|read-only"):
            await database.read(insert(1))


async def test_a_closed_store_says_so(tmp_path):
    async with opened(tmp_path) as database:
        await database.aclose()
        for use in (database.write, database.read):
            with pytest.raises(md.ClientClosed):
                await use(insert(1))


def test_a_file_that_is_no_database_is_called_damaged(tmp_path):
    (tmp_path / "x.db").write_bytes(b"garbage " * 1000)
    with pytest.raises(md.StoreCorrupt, match=r"x\.db"):
        Database(tmp_path / "x.db", kind="account", synchronous="FULL")


async def test_damage_found_while_reading_or_writing_is_called_damage(tmp_path):
    async with opened(tmp_path) as database:
        for number in range(500):
            await database.write(lambda c, n=number: c.execute("INSERT INTO t VALUES (?, ?)", (n, "y" * 300)))
    path = tmp_path / "x.db"
    async with opened(tmp_path) as database:  # which was whole when it was opened
        content = bytearray(path.read_bytes())
        for start in range(4096 * 16, len(content), 4096):
            content[start : start + 512] = b"\xff" * 512
        path.write_bytes(content)
        database._writer.execute("PRAGMA shrink_memory")  # it has it all in memory still
        with pytest.raises(md.StoreCorrupt, match="connect again"):
            await database.read(lambda c: c.execute("SELECT sum(length(text)) FROM t").fetchall())
        with pytest.raises(md.StoreCorrupt):
            await database.write(lambda c: c.execute("UPDATE t SET text = 'z'"))
        assert path.read_bytes() == content, "what no server can give back is left as it is"


def test_a_store_of_a_newer_version_is_refused_politely(tmp_path):
    path = tmp_path / "x.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(md.StoreCorrupt, match="newer matrixdata"):
        Database(path, kind="account", synchronous="FULL")


OPEN = """
import sys
from pathlib import Path
from matrixdata.replica.store import Store
sys.stdin.readline()
for _ in range(20):
    store = Store(Path(sys.argv[1]))
    store._account._writer.close(); store._replica._writer.close()
"""


def test_two_processes_may_open_and_migrate_a_new_store_at_once(tmp_path):
    command = [sys.executable, "-c", OPEN, str(tmp_path / "store")]
    pair = [subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE) for _ in "ab"]
    for each in pair:
        each.stdin.write(b"\n")
        each.stdin.flush()
    for each in pair:
        _, errors = each.communicate(timeout=60)
        assert each.returncode == 0, errors.decode()


async def test_files_are_for_their_owner_alone_whatever_the_umask(tmp_path):
    before = os.umask(0o022)
    try:
        store = Store(tmp_path / "store")
        store.sync_lease.acquire()
        store.send_lease.acquire()
        await store.rooms.lead()
        await store.account.forget_token()
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "store").iterdir()}
        await store.aclose()
    finally:
        os.umask(before)
    assert {"account.db", "replica.db", "account.db-wal", "replica.db-wal", "sync.lock", "send.lock"} <= set(
        modes
    )
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE((tmp_path / "store").stat().st_mode) == 0o700


def test_a_store_is_not_opened_through_a_symbolic_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(md.MatrixDataError, match="not a directory"):
        Store(tmp_path / "link")


def test_a_lease_is_freed_for_others_though_a_forked_child_still_has_it_open(tmp_path):
    from matrixdata.replica.lease import Lease

    first, second = Lease(tmp_path / "lock"), Lease(tmp_path / "lock")
    assert first.acquire()
    assert not second.acquire()
    assert second.holder() == os.getpid()
    kept_by_a_child = os.dup(first._fd)
    first.release()
    assert second.acquire()
    second.release()
    os.close(kept_by_a_child)
