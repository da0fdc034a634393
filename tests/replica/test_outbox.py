"""What is next to be sent is found as quickly in a long queue as in a short one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from matrixdata.replica.database import Database
from matrixdata.replica.outbox import Outbox
from matrixdata.replica.outbox_item import OutboxItem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

pytestmark = pytest.mark.anyio
ITEM = OutboxItem(
    room_id="!a", uid="u", txn_id="t", type="io.matrixdata.record", content=b"{}", value=b"1", time=0,
    accepted_at=0, alone=True,
)  # fmt: skip


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "account.db", kind="account", synchronous="FULL")
    yield database
    await database.aclose()


async def queued(outbox: Outbox, start: int, count: int, **fields: Any) -> list[OutboxItem]:
    numbers = range(start, start + count)
    return await outbox.accept(
        [replace(ITEM, **fields, uid=f"u{number}", txn_id=f"t{number}") for number in numbers]
    )


async def steps(database: Database, work: Callable[[], Awaitable[object]]) -> int:
    """How many instructions of SQLite's machine some reads take, in hundreds."""
    counted = [0]

    def count() -> None:
        counted[0] += 1

    await database.read(lambda c: c.set_progress_handler(count, 100))
    await work()
    await database.read(lambda c: c.set_progress_handler(None, 0))
    return counted[0]


@pytest.mark.parametrize("alone", [True, False])
async def test_a_long_queue_costs_no_more_for_each_record_than_a_short_one(
    database: Database, alone: bool
) -> None:
    outbox = Outbox(database)

    async def look() -> None:
        await outbox.rooms_waiting(skip=["!b"])
        await outbox.head("!a")
        await outbox.is_crowded("!a", 100)

    await queued(outbox, 0, 500, alone=alone)
    short = await steps(database, look)
    await queued(outbox, 500, 10_000, alone=alone)
    assert await steps(database, look) < short + 5


async def test_rooms_wait_in_the_order_of_their_oldest_records(database: Database) -> None:
    outbox = Outbox(database)
    assert await outbox.rooms_waiting() == []
    first, *_ = await queued(outbox, 0, 3, room_id="!c")
    await queued(outbox, 3, 3, room_id="!a")
    await queued(outbox, 6, 3, room_id="!b")
    await queued(outbox, 9, 3, room_id="!a")
    assert await outbox.rooms_waiting() == ["!c", "!a", "!b"]
    assert await outbox.rooms_waiting(skip=["!a", "!x"], most=1) == ["!c"]
    for item in await outbox.list("!c", states=("queued",)):
        await outbox.stuck(item, "M_FORBIDDEN")
    assert await outbox.rooms_waiting() == ["!a", "!b"]
    assert await outbox.retry(first.uid) == 1
    assert await outbox.rooms_waiting() == ["!c", "!a", "!b"]


async def test_a_queue_is_crowded_by_what_may_be_packed_and_is_next(database: Database) -> None:
    outbox = Outbox(database)
    await queued(outbox, 0, 5, alone=False)
    assert await outbox.is_crowded("!a", 4)
    assert not await outbox.is_crowded("!a", 5)
    assert not await outbox.is_crowded("!b", 4)
    await queued(outbox, 5, 5, room_id="!b", alone=True)
    await queued(outbox, 10, 5, room_id="!b", alone=False)
    assert await outbox.is_crowded("!b", 4)


async def test_many_are_found_by_their_transactions(database: Database) -> None:
    outbox = Outbox(database)
    stored = await queued(outbox, 0, 1_200)
    found = await outbox.by_txn([item.txn_id for item in stored] + ["unknown"])
    assert sorted(item.id for item in found) == [item.id for item in stored]
