"""Events end up in the order in which the server pages them, wherever they stood and whatever was missing."""

from __future__ import annotations

import tempfile
from pathlib import Path

import anyio
from hypothesis import given
from hypothesis import strategies as st

from matrixdata.replica import timeline
from matrixdata.replica.database import Database
from matrixdata.replica.order import arrange
from matrixdata.replica.rooms import Rooms
from matrixdata.replica.rows import RoomChange
from tests.replica.test_timeline import ROOM, event, stored


def with_rooms(scenario):
    async def run():
        with tempfile.TemporaryDirectory() as place:
            database = Database(Path(place) / "replica.db", kind="replica", synchronous="NORMAL")
            try:
                await scenario(Rooms(database), database)
            finally:
                await database.aclose()

    anyio.run(run)


@given(
    server=st.permutations(range(14)),
    here=st.lists(st.integers(0, 13), unique=True, max_size=14),
    size=st.integers(1, 6),
    step=st.sampled_from([1, 2, timeline.STEP]),
)
def test_pages_put_everything_where_the_server_has_it(server, here, size, step):
    async def scenario(rooms, database):
        arrived = RoomChange(ROOM, events=tuple(event(n) for n in here))
        await rooms.apply([arrived], tokens={})

        def narrow(c):
            for position, (key,) in enumerate(c.execute("SELECT id FROM event ORDER BY position").fetchall()):
                c.execute("UPDATE event SET position = ? WHERE id = ?", (-(10**6) + position * step, key))

        await database.write(narrow)
        changes = await rooms.newest_change()
        newest_first = server[::-1]
        # What is newer than anything that is here is for /sync to tell.
        untold = next((n for n, key in enumerate(newest_first) if key in here), len(server))
        below, lacking = None, set(newest_first[untold:]) - set(here)
        for start in range(0, len(server), size):
            page = [event(n) for n in newest_first[start : start + size]]

            def work(c, page=page, below=below):
                return arrange(c, timeline.room_key(c, ROOM), page, below=below)

            done = await database.write(work)
            assert {row.event_id for row in done.added} == {f"${n:04}" for n in lacking} & {
                row.event_id for row in page
            }
            below = done.oldest
        told = [f"${n:04}" for n in server if n in lacking or n in here]
        assert [row.event_id for row in await stored(rooms)] == told
        assert await rooms.newest_change() == changes + len(lacking)

    with_rooms(scenario)


@given(late=st.lists(st.integers(1, 8), min_size=1, max_size=3, unique=True))
def test_what_is_in_order_is_not_touched_and_a_gap_below_stays_one(late):
    async def scenario(rooms, database):
        await rooms.apply([RoomChange(ROOM, events=(event(0),))], tokens={})
        shown = tuple(event(n) for n in range(10, 20) if n - 10 not in late)
        change = RoomChange(ROOM, events=shown, limited=True, prev_batch="10")
        await rooms.apply([change], tokens={})
        page = [event(n) for n in range(19, -1, -1)]

        def work(c):
            return arrange(c, timeline.room_key(c, ROOM), page, below=None)

        done = await database.write(work)
        assert done.at_gap
        assert [int(row.event_id[1:]) for row in done.added] == sorted(n + 10 for n in late)
        again = await database.write(work)
        assert again.calm
        assert len(await rooms.gaps(ROOM)) == 1
        assert [row.event_id for row in await stored(rooms)] == [f"${n:04}" for n in (0, *range(10, 20))]

    with_rooms(scenario)
