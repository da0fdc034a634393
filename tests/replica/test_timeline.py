"""A room's rows end up as the server has them, however its events came: in bursts, with gaps, twice, in pages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrixdata.replica.database import Database
from matrixdata.replica.rooms import Rooms
from matrixdata.replica.rows import EventRow, RoomChange, StateRow
from tests.faults.harness import Break, fault

ROOM = "!room"


def event(number, *, redacts=None, uid=None, sender="@a:x", content=b'{"secret":1}', **fields):
    defaults = {"row_state": "valid", "record": redacts is None, "value": b"{}", "time": number}
    return EventRow(
        event_id=f"${number:04}",
        type="m.room.redaction" if redacts is not None else "io.matrixdata.record",
        state_key=None,
        sender=sender,
        origin_time=number,
        content=content,
        uid=uid,
        redacts=f"${redacts:04}" if redacts is not None else None,
        **defaults | fields,
    )


async def stored(rooms, **options):
    return [row async for page in rooms.scan(ROOM).events(**options) for row in page]


@pytest.fixture
def replica(tmp_path):
    numbers = iter(range(10**6))

    def new():
        return Database(tmp_path / f"replica{next(numbers)}.db", kind="replica", synchronous="NORMAL")

    return new


class Server:
    """The room's whole history; a client sees windows of it. Pages may be older than a redaction."""

    def __init__(self, redactions):
        self.redactions = redactions

    def event(self, number, *, seen_before_redaction=True):
        target = self.redactions.get(number)
        gone = not seen_before_redaction and number in self.redactions.values()
        state = {"content": None, "value": None, "row_state": "redacted"} if gone else {}
        return event(number, redacts=target, **state)


steps = st.lists(
    st.tuples(
        st.sampled_from(["sync", "sync", "again", "fill"]),
        st.integers(1, 12),
        st.integers(1, 6),
        st.booleans(),
    ),
    max_size=25,
)


@given(
    steps=steps,
    redactions=st.dictionaries(st.integers(0, 60), st.integers(0, 60), max_size=4),
)
def test_order_and_content_are_the_servers_once_every_gap_is_filled(steps, redactions):
    # A redaction comes after what it redacts, and nothing redacts a redaction.
    server = Server({k: v for k, v in redactions.items() if v < k and v not in redactions})

    async def scenario(rooms):
        newest = 0

        async def fill(gap, size, stale):
            upto = int(gap.token)
            page = [
                server.event(n, seen_before_redaction=stale)
                for n in range(upto - 1, max(-1, upto - 1 - size), -1)
            ]
            rest = upto - size
            await rooms.fill(gap, page, token=str(rest) if rest > 0 else None)

        for kind, many, limit, stale in steps:
            if kind == "fill":
                gaps = await rooms.gaps(ROOM)
                if gaps:
                    await fill(gaps[many % len(gaps)], limit, stale)
                continue
            start = newest if kind == "sync" else max(0, newest - many)
            newest = newest + many if kind == "sync" else newest
            shown = range(max(start, newest - limit), newest)
            change = RoomChange(
                ROOM,
                events=tuple(server.event(n) for n in shown),
                limited=bool(shown) and shown[0] > start,
                prev_batch=str(shown[0]) if shown else None,
            )
            await rooms.apply([change], tokens={"t": str(newest)})
        while gaps := await rooms.gaps(ROOM):
            await fill(gaps[0], 7, stale=True)
        rows = await stored(rooms)
        assert [row.event_id for row in rows] == [f"${n:04}" for n in range(newest)]
        gone = {target for number, target in server.redactions.items() if number < newest}
        assert [n for n, row in enumerate(rows) if row.content is None] == sorted(gone)
        assert all((row.row_state == "redacted") == (row.content is None) for row in rows)

    _with_rooms(scenario)


def _with_rooms(scenario):
    import tempfile
    from pathlib import Path

    import anyio

    async def run():
        with tempfile.TemporaryDirectory() as place:
            database = Database(Path(place) / "replica.db", kind="replica", synchronous="NORMAL")
            try:
                await scenario(Rooms(database))
            finally:
                await database.aclose()

    anyio.run(run)


@given(order=st.permutations(range(4)), senders=st.lists(st.sampled_from("ab"), min_size=4, max_size=4))
def test_the_smallest_event_id_counts_for_a_sender_and_uid_in_whatever_order_they_come(order, senders):
    async def scenario(rooms):
        for number in order:
            row = event(number, uid="u", sender=f"@{senders[number]}:x", value=b"%d" % number)
            await rooms.apply([RoomChange(ROOM, events=(row,))], tokens={})
        from matrixdata.replica.scan import Span

        pages = [row async for page in rooms.scan(ROOM).records(Span()) for row in page]
        assert {row[1]: row[0] for row in pages} == {
            f"@{s}:x": f"${min(n for n in range(4) if senders[n] == s):04}" for s in set(senders)
        }

    _with_rooms(scenario)


def test_a_redacted_state_event_leaves_no_content_in_the_current_state():
    async def scenario(rooms):
        content = b'{"v":1,"secret":"canary"}'
        state = StateRow("io.matrixdata.schema", "1", "$0001", "@a:x", 1, content)
        row = event(1, content=content, value=None, record=False)
        await rooms.apply([RoomChange(ROOM, events=(row,), state=(state,))], tokens={})
        await rooms.apply([RoomChange(ROOM, events=(event(2, redacts=1),))], tokens={})
        assert [row.content for row in await rooms.state(ROOM)] == [b"{}"]

    _with_rooms(scenario)


def test_a_commit_that_fails_leaves_neither_rows_nor_token():
    async def scenario(rooms):
        await rooms.apply([RoomChange(ROOM, events=(event(1),))], tokens={"t": "one"})
        bad = event(3, row_state="nonsense")
        with pytest.raises(Exception, match="row_state"):
            await rooms.apply([RoomChange(ROOM, events=(event(2), bad))], tokens={"t": "two"})
        assert [row.event_id for row in await stored(rooms)] == ["$0001"]
        assert await rooms.token("t") == "one"

    _with_rooms(scenario)


@fault("F26", broken=Break("matrixdata/replica/rooms.py", 'int(_meta(c, "epoch")) != epoch', "False"))
def test_a_leader_that_was_replaced_can_commit_nothing_more(replica):
    import anyio

    import matrixdata as md

    async def scenario():
        database = replica()
        old, new = Rooms(database), Rooms(database)
        await old.lead()
        await new.lead()
        with pytest.raises(md.StoreLocked):
            await old.apply([RoomChange(ROOM, events=(event(1),))], tokens={"t": "old"})
        await new.apply([RoomChange(ROOM, events=(event(2),))], tokens={"t": "new"})
        assert [row.event_id for row in await stored(new)] == ["$0002"]
        await database.aclose()

    anyio.run(scenario)


def test_the_problem_of_a_gap_stays_until_a_page_brings_something_new():
    async def scenario(rooms):
        newest = RoomChange(ROOM, events=(event(8), event(9)), limited=True, prev_batch="8")
        await rooms.apply([newest], tokens={"t": "9"})
        [gap] = await rooms.gaps(ROOM)
        await rooms.gap_problem(gap, "the pages lead in a circle")
        await rooms.fill(gap, [event(9), event(8)], token="8")
        assert await rooms.gap_trouble() == "the pages lead in a circle"
        await rooms.fill(gap, [event(7)], token="7")
        assert await rooms.gap_trouble() is None

    _with_rooms(scenario)
